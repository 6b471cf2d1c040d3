import re
from html.parser import HTMLParser

import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor
from report_pages import full_report, hostile_report, measure

from reports import build_report, figures_of, to_html
from reports.page.answer import compose_answer

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'"


class Page(HTMLParser):
    """Parser of a page: tags with attributes, texts, open tags, and tags closed out of order."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open, self.faults = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module", params=[full_report, hostile_report])
def html(request, tmp_path_factory):
    return to_html(request.param(tmp_path_factory.mktemp("report")))


def test_every_tag_is_closed_and_every_id_is_unique(html):
    page = Page(html)
    assert (page.faults, page.open) == ([], [])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for _, attributes in page.tags if "href" in attributes}
    assert targets <= set(ids)


def test_the_page_links_to_nothing_outside_the_file(html):
    page = Page(html)
    leading = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background", "formaction"}
    found = [value for _, attributes in page.tags for name, value in attributes.items() if name in leading]
    assert [value for value in found if not value.startswith(("#", "data:"))] == []
    styles = [attributes["style"] for _, attributes in page.tags if "style" in attributes]
    for text in [*styles, *(value for _, attributes in page.tags for value in map(str, attributes.values()))]:
        assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in html
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "form", "img"} == set()
    policies = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]


def test_names_are_shown_as_text_and_never_as_markup(tmp_path):
    html = to_html(hostile_report(tmp_path))
    page = Page(html)
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    texts = " ".join(page.texts)
    for name in ("<script>alert(1)</script>", "a\"b'c & d", "50%_$x$ #1 {y} ~^\\", "<img src=x onerror=alert(5)>"):
        assert name in texts


def test_every_figure_has_a_label_with_its_numbers(html):
    pictures = Page(html).all("svg")
    assert len(pictures) >= 10
    assert all(each["role"] == "img" and re.search(r"\d", each["aria-label"]) for each in pictures)


def test_the_sections_have_a_fixed_order(tmp_path):
    html = to_html(full_report(tmp_path))
    order = [
        *("answer", "verdicts", "claims", "effects", "pairs", "cells", "interactions", "shares", "curves"),
        *("divergence", "method", "audit", "caveats", "environment", "trials"),
    ]
    positions = [html.index(f'id="{name}"') for name in order]
    assert positions == sorted(positions)
    assert re.findall(r'<li><a href="#([a-z]+)">', html)[: len(order)] == order


def test_sections_without_content_are_left_out(tmp_path):
    html = to_html(build_report(make_ledger(tmp_path, one_factor(seeds=1), lambda *_: make_result(0.5))))
    found = re.findall(r'<h2 id="([a-z]+)">', html)
    assert found == ["cells", "method", "audit", "caveats", "environment", "trials"]
    assert "The study has one seed, so there are no contrasts" in html


@pytest.mark.slow
def test_the_same_report_gives_the_same_page(tmp_path):
    pages = [to_html(full_report(tmp_path / name)) for name in ("one", "other")]
    assert pages[0] == pages[1]
    assert str(tmp_path) not in pages[0]


@pytest.mark.slow
def test_twenty_figures_stay_below_two_megabytes(tmp_path):
    factors = {
        f"factor {number}": {"key": f"model.init_args.f{number}", "levels": ["low", "high"]} for number in range(6)
    }
    report = build_report(make_ledger(tmp_path, make_study(factors=factors, seeds=8), measure))
    figures = figures_of(report)
    assert len(list(figures)) == 20
    assert len(figures.left_out) > 0
    html = to_html(report)
    assert len(html.encode()) < 2_000_000
    assert "The first 500 of 512 rows. trials.csv has every trial" in html


def test_the_answer_gives_counts_and_then_decided_contrasts(tmp_path):
    report = full_report(tmp_path)
    text = compose_answer(report)
    assert text.startswith("Of 3 comparisons with a reference, ")
    decided = report.main_effects[report.main_effects["verdict"] != "undecided"]
    assert all(sentence in text for sentence in decided["sentence"])
    assert "Of 2 claims, " in text


def test_without_a_decided_contrast_the_answer_gives_the_largest(tmp_path):
    scores = {"a": 0.5, "b": 0.51, "c": 0.45}
    report = build_report(
        make_ledger(
            tmp_path,
            one_factor(list(scores), seeds=3),
            lambda levels, seed: make_result(scores[levels["x"]] + 0.2 * ((seed * ord(levels["x"])) % 3)),
        )
    )
    text = compose_answer(report)
    assert text.startswith("Of 2 comparisons with a reference, all are undecided. The largest difference: x: ")
    assert text.endswith("Undecided does not mean “no effect”: more seeds may decide.")
