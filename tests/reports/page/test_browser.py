"""Tests of the page in Debian's chromium, driven by playwright; skipped if one of them is missing."""

import io
import re
from pathlib import Path

import pytest
from make_ledger import make_ledger, make_study
from mechanism_ledger import inside_ledger
from PIL import Image
from report_pages import CLAIMS, full_report, hostile_report, measure

from reports import build_report, to_html, write_report
from reports.index import write_index

CHROMIUM = Path("/usr/bin/chromium")
LUMINANCE = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    made = {}
    for make in (full_report, hostile_report):
        folder = tmp_path_factory.mktemp(make.__name__)
        made[make.__name__] = folder / "index.html"
        made[make.__name__].write_text(to_html(make(folder / "run")), encoding="utf-8")
    return made


def opened(browser, path, **options):
    """Open the page, and return it with its console messages and requests."""
    page = browser.new_page(**options)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    return page, said, asked


def column(page, table, number):
    return page.locator(f"{table} tbody tr td:nth-child({number})").all_inner_texts()


def test_pages_log_and_request_nothing_even_with_hostile_names(browser, pages):
    for path in pages.values():
        page, said, asked = opened(browser, path)
        page.wait_for_timeout(100)
        assert said == []
        assert asked == [path.as_uri()]
        page.close()


def test_tables_sort_by_click_and_by_key(browser, pages):
    page, *_ = opened(browser, pages["full_report"])
    table = "section[aria-labelledby=cells] table"
    button = page.locator(f"{table} th button", has_text="mean")
    original = column(page, table, 4)
    button.click()
    ascending = column(page, table, 4)
    assert ascending == sorted(original, key=float)
    assert page.locator(f"{table} th[aria-sort]").get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    assert column(page, table, 4) == ascending[::-1]
    assert page.locator(f"{table} th[aria-sort]").get_attribute("aria-sort") == "descending"
    button.press("Space")
    assert column(page, table, 4) == original
    assert page.locator(f"{table} th[aria-sort]").count() == 0
    page.close()


def test_absent_values_are_sorted_last(browser, pages):
    page, *_ = opened(browser, pages["full_report"])
    table = "section[aria-labelledby=shares] table"
    button = page.locator(f"{table} th button", has_text=re.compile("^p$"))
    for _ in range(2):
        button.click()
        assert column(page, table, 7)[-1] == "-"
    page.close()


def test_page_and_figures_have_a_dark_mode(browser, pages):
    shades = {}
    for scheme in ("light", "dark"):
        page, *_ = opened(browser, pages["full_report"], color_scheme=scheme)
        fill = "getComputedStyle(document.querySelector('#figure-forest text')).fill"
        shades[scheme] = [page.evaluate(LUMINANCE), page.evaluate(fill)]
        page.close()
    assert shades["light"][0] == "rgb(255, 255, 255)"
    assert shades["dark"][0] == "rgb(20, 23, 27)"
    assert shades["light"][1] != shades["dark"][1]


def test_the_page_is_complete_without_javascript(browser, pages):
    page, *_ = opened(browser, pages["full_report"], java_script_enabled=False)
    assert page.locator("th button").count() == 0
    assert page.locator("section[aria-labelledby=trials] tbody tr").count() == 30
    assert page.locator("figure svg").count() == 13
    page.close()


def test_the_page_fits_the_width_of_a_phone(browser, pages):
    for path in pages.values():
        page, *_ = opened(browser, path, viewport={"width": 360, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.close()


def test_printing_opens_closed_parts(browser, pages):
    page, *_ = opened(browser, pages["full_report"], color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(LUMINANCE) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.locator("details table").first.is_visible()
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_maps_of_layers_are_drawn_in_dark_mode_and_on_a_phone(browser, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(to_html(build_report(inside_ledger(tmp_path / "run"))), encoding="utf-8")
    page, said, asked = opened(browser, path, viewport={"width": 360, "height": 700}, color_scheme="dark")
    page.wait_for_timeout(100)
    assert (said, asked) == ([], [path.as_uri()])  # the policy of the page lets its own images be drawn
    figures = page.locator("figure[id^=figure-mechanism-]")
    assert [figures.nth(number).is_visible() for number in range(figures.count())] == [True] + [False] * 8
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert all(figures.nth(number).is_visible() for number in range(figures.count()))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for number in (0, 3, 5):  # logarithmic, shares, around zero: more than the page's own colour is there
        picture = Image.open(io.BytesIO(figures.nth(number).screenshot())).convert("RGB")
        assert len(picture.crop((0, 30, 340, 130)).getcolors(100_000)) > 50
    page.close()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Write the index of two studies with claims, one of which has a report."""
    parent = tmp_path_factory.mktemp("runs")
    for name, chapter in (("late", "Text"), ("early", "Activations")):
        study = make_study(name=name, chapter=chapter, metric={"name": "test/acc", "margin": 0.01}, claims=CLAIMS)
        make_ledger(parent / name, study, measure)
    write_report(parent / "early")
    return write_index(parent)[1]


def test_the_index_requests_nothing_sorts_and_links_to_claims(browser, index):
    page, said, asked = opened(browser, index)
    table = "section[aria-labelledby=claims] table"
    assert column(page, table, 1) == ["Activations", "Activations", "Text", "Text"]
    page.locator(f"{table} th button", has_text="difference").click()
    assert [text.replace("−", "-") for text in column(page, table, 4)] == sorted(
        (text.replace("−", "-") for text in column(page, table, 4)), key=float
    )
    button = page.locator(f"{table} th button", has_text="chapter")
    button.click()
    button.click()
    assert column(page, table, 1) == ["Text", "Text", "Activations", "Activations"]
    assert (said, asked) == ([], [index.as_uri()])
    page.locator(f"{table} a").first.click()
    assert page.url == f"{index.parent.as_uri()}/early/report/index.html#claims"
    assert page.locator("#claims").is_visible()
    page.close()


@pytest.mark.parametrize("options", [{"viewport": {"width": 360, "height": 700}}, {"java_script_enabled": False}])
def test_the_index_fits_a_phone_and_needs_no_script(browser, index, options):
    page, *_ = opened(browser, index, **options)
    assert page.locator("section[aria-labelledby=claims] tbody tr").count() == 4
    if "viewport" in options:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()


def test_the_index_has_a_dark_mode_and_is_light_in_print(browser, index):
    page, *_ = opened(browser, index, color_scheme="dark")
    assert page.evaluate(LUMINANCE) == "rgb(20, 23, 27)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(LUMINANCE) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.pdf().startswith(b"%PDF")
    page.close()
