"""Index of many studies, from ledgers with made-up results."""

import csv
import json
import re
import shutil
import sqlite3
import threading

import pytest
from make_ledger import make_ledger, make_result, make_study
from report_pages import CLAIMS, HOSTILE, measure
from tiny_catalogue import write_catalogue

from experiments import DirectoryError, Ledger, load_study
from experiments.study import parse as study_file
from experiments.trials.trial import TrialStatus
from reports import build_report
from reports.index import build_catalogue, summarise_index, write_index
from reports.index.html import compose_answer, to_html
from reports.index.json_document import to_json
from reports.index.multiplicity import describe_multiplicity
from reports.index.setting import describe_contrast, describe_data, describe_model
from tests.reports.page.test_html import POLICY, Page


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    """Ship two studies, of which a test runs at most one."""
    folder = write_catalogue(
        tmp_path / "studies",
        small={"chapter": "Text", "minutes": 2},
        quiet={"chapter": "Activations", "minutes": 1, "claims": {}},
    )
    monkeypatch.setattr(study_file, "SHIPPED", folder)
    (tmp_path / "runs").mkdir()
    return folder


def add(parent, folder, measured=measure, **changes):
    """Make the folder of a study with two claims, unless changed."""
    study = make_study(**({"name": folder, "metric": {"name": "test/acc", "margin": 0.01}, "claims": CLAIMS} | changes))
    return make_ledger(parent / folder, study, measured)


def run_shipped(parent, name, measured, **changes):
    """Make the folder of a shipped study as after `ablate run`, without a report."""
    return make_ledger(parent / name, load_study(name, **changes), measured)


def scored(levels, seed):
    return make_result(0.9 + 0.05 * (levels["activation"] == "relu") + seed / 1000 * len(levels["activation"]))


def rows(frame, *columns):
    return list(frame[list(columns)].itertuples(index=False, name=None))


def test_claims_have_the_numbers_and_verdicts_of_the_reports(tmp_path):
    folder = add(tmp_path / "runs", "one", chapter="Activations")
    catalogue, report = build_catalogue(tmp_path / "runs"), build_report(folder)
    for column in ("claim", "says", "finding", "n", "mean_difference", "ci_low", "ci_high", "p_adjusted", "sentence"):
        assert catalogue.claims[column].tolist() == report.claims[column].tolist(), column
    assert (
        rows(catalogue.claims, "chapter", "study", "folder", "metric", "margin", "state", "page")
        == [("Activations", "one", "one", "test/acc", 0.01, "complete", "")] * 2
    )


def test_studies_are_in_the_order_of_chapters_with_those_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add(tmp_path / "runs", "mine")
    run_shipped(tmp_path / "runs", "small", scored)
    catalogue = build_catalogue("runs")
    assert rows(catalogue.studies, "chapter", "study", "state", "num_trials", "num_ended", "num_claims", "command") == [
        ("Activations", "quiet", "not run", 4, 0, 0, "ablate run quiet"),
        ("Text", "small", "complete", 4, 4, 1, "ablate run small"),
        ("", "mine", "complete", 30, 30, 2, ""),
    ]
    assert catalogue.command == "ablate run --all"
    assert rows(catalogue.chapters, "chapter", "studies", "complete", "claims", "not tested") == [
        ("Activations", 1, 0, 0, 0),
        ("Text", 1, 1, 1, 0),
        ("Other studies", 1, 1, 2, 0),
    ]


def test_missing_trials_are_listed_with_the_command_that_trains_them(tmp_path):
    parent = tmp_path / "runs"
    run_shipped(parent, "small", lambda levels, seed: scored(levels, seed) if seed == 0 else None)
    run_shipped(
        parent, "quiet", lambda levels, seed: make_result(status=TrialStatus.FAILED) if seed else scored(levels, seed)
    )
    small, quiet = build_catalogue(parent).studies.iloc[[1, 0]].to_dict("records")
    report = f"no report; `ablate report {parent}"
    assert (small["state"], small["note"]) == (
        "incomplete",
        f"2 of 4 trials have not been trained; {report}/small` writes it",
    )
    assert small["command"] == f"ablate run small --out {parent}/small"
    assert (quiet["state"], quiet["note"]) == ("incomplete", f"2 of 4 trials failed; {report}/quiet` writes it")
    assert quiet["command"] == f"ablate retry {parent}/quiet && ablate run quiet --out {parent}/quiet"


def test_a_study_without_results_is_not_run_and_its_claims_not_tested(tmp_path):
    run_shipped(tmp_path / "runs", "small", lambda levels, seed: None)
    catalogue = build_catalogue(tmp_path / "runs")
    assert catalogue.claims.empty
    assert catalogue.chapters["not tested"].sum() == 1
    assert describe_multiplicity(catalogue.claims) == []
    html = to_html(catalogue)
    assert "No claim has been tested yet." in html
    assert not re.search('id="(claims|multiplicity|studies)"', html)


def test_a_changed_plan_is_marked_and_continued_from_its_study_file(tmp_path):
    folder = run_shipped(tmp_path / "runs", "small", scored, seeds=3, changes={"trainer.max_epochs": 7})
    (row,) = build_catalogue(tmp_path / "runs").select_by_state("complete").to_dict("records")
    assert row["note"].startswith(
        "not as shipped (base.trainer.max_epochs: 7 instead of 1, seeds: [0, 1, 2] instead of [0, 1]); "
    )
    assert row["command"] == ""
    (folder / "study.yaml").write_text("# Written by `ablate run`; the ledger holds the same.\n")
    (row,) = build_catalogue(tmp_path / "runs").select_by_state("complete").to_dict("records")
    assert "Not as shipped" in to_html(build_catalogue(tmp_path / "runs"))
    (folder / "study.yaml").unlink()
    run_shipped(tmp_path / "runs", "quiet", lambda levels, seed: scored(levels, seed) if seed else None, seeds=5)
    (tmp_path / "runs" / "quiet" / "study.yaml").write_text("# Written by `ablate run`; the ledger holds the same.\n")
    (row,) = build_catalogue(tmp_path / "runs").select_by_state("incomplete").to_dict("records")
    path = tmp_path / "runs" / "quiet"
    assert row["command"] == f"ablate run {path}/study.yaml --out {path}"


def test_the_answer_of_one_claim_is_a_sentence_on_it(tmp_path):
    add(tmp_path / "runs", "one", claims={"ok": CLAIMS["ok"]})
    assert compose_answer(build_catalogue(tmp_path / "runs")) == (
        "One claim was tested; it is practically equal. 1 more claim needs one study that has not been run."
    )


@pytest.mark.parametrize(
    ("shipped_runs", "why"),
    [
        ({}, "1 more claim needs one study that has not been run."),
        ({"small": "unreadable"}, "1 more claim needs one study that cannot be read."),
        ({"small": "failed"}, "1 more claim needs one study that has no finished trial."),
    ],
)
def test_the_answer_says_why_claims_are_not_tested(tmp_path, shipped_runs, why):
    parent = tmp_path / "runs"
    add(parent, "mine")
    for name, state in shipped_runs.items():
        folder = run_shipped(parent, name, lambda levels, seed: make_result(status=TrialStatus.FAILED))
        if state == "unreadable":
            (folder / "ledger.sqlite").write_text("no database")
    assert compose_answer(build_catalogue(parent)).endswith(why)


def test_the_answer_counts_studies_not_run_and_unreadable_ones_together(tmp_path, shipped):
    write_catalogue(shipped, small={"minutes": 2}, another={"minutes": 1})
    parent = tmp_path / "runs"
    add(parent, "mine")
    (run_shipped(parent, "small", scored) / "ledger.sqlite").write_text("no database")
    assert compose_answer(build_catalogue(parent)).endswith(
        "2 more claims need 2 studies that have not been run or cannot be read."
    )


def test_only_changed_plans_are_listed_as_not_as_shipped(tmp_path):
    run_shipped(tmp_path / "runs", "small", scored)
    catalogue = build_catalogue(tmp_path / "runs")
    html = to_html(catalogue)
    assert "Not as shipped" not in html
    assert "Without a report" in html
    assert "no report; " in html
    assert "is_changed" not in json.loads(to_json(catalogue))["studies"][0]
    folder = run_shipped(tmp_path / "runs", "quiet", scored, seeds=3)
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("page")
    html = to_html(build_catalogue(tmp_path / "runs"))
    assert re.search(r"Not as shipped</h2>\s*<ul class=.todo.>\s*<li><b>.*quiet", html)


def damaged_content(folder):
    with sqlite3.connect(folder / "ledger.sqlite") as file:
        file.execute('UPDATE study SET content = \'{"name": "x"\'')
    file.close()


def other_levels(folder):
    with sqlite3.connect(folder / "ledger.sqlite") as file:
        file.execute("UPDATE cells SET levels = '{}'")
    file.close()


def another_programs(folder):
    (folder / "ledger.sqlite").unlink()
    with sqlite3.connect(folder / "ledger.sqlite") as file:
        file.execute("CREATE TABLE notes (text TEXT)")
    file.close()


BROKEN = {
    "text": (
        lambda folder: (folder / "ledger.sqlite").write_text("no database at all, only text"),
        "is damaged or not a",
    ),
    "empty": (lambda folder: (folder / "ledger.sqlite").write_bytes(b""), "is empty; `ablate run` fills it"),
    "cut off": (
        lambda folder: (folder / "ledger.sqlite").write_bytes((folder / "ledger.sqlite").read_bytes()[:5000]),
        "damaged",
    ),
    "another program's": (another_programs, "is an SQLite file, but not a ledger of this suite"),
    "content": (damaged_content, "is damaged (JSONDecodeError): "),
    "levels": (other_levels, "is damaged (KeyError): "),
}


@pytest.mark.parametrize(("damage", "why"), BROKEN.values(), ids=BROKEN)
def test_an_unreadable_folder_is_listed_and_does_not_affect_others(tmp_path, damage, why):
    parent = tmp_path / "runs"
    add(parent, "whole")
    damage(run_shipped(parent, "small", scored))
    catalogue, page = write_index(parent)
    assert rows(catalogue.select_by_state("unreadable"), "study", "folder", "chapter") == [("small", "small", "Text")]
    (note,) = catalogue.select_by_state("unreadable")["note"]
    assert f"{parent / 'small'}" in note
    assert why in note
    assert catalogue.claims["study"].unique().tolist() == ["whole"]
    assert 'id="unreadable"' in page.read_text()
    assert f"cannot be read: {note}" in summarise_index(catalogue, page)


def test_a_study_folder_and_a_missing_folder_are_errors(tmp_path):
    folder = add(tmp_path / "runs", "one")
    with pytest.raises(DirectoryError, match="runs/one: is a study folder; index the folder that contains it: "):
        build_catalogue(folder)
    with pytest.raises(DirectoryError, match=r"absent: does not exist; `ablate run --all --out .*absent` creates"):
        build_catalogue(tmp_path / "absent")


def test_two_folders_of_one_study_are_distinguished(tmp_path):
    parent = tmp_path / "runs"
    for folder, epochs in (("small", 3), ("small again", 4)):
        make_ledger(parent / folder, load_study("small", changes={"trainer.max_epochs": epochs}), scored)
    (parent / "small again" / "report").mkdir()
    (parent / "small again" / "report" / "index.html").write_text("page")
    catalogue = build_catalogue(parent)
    assert rows(catalogue.claims, "study", "folder", "page") == [
        ("small", "small", ""),
        ("small", "small again", "small%20again/report/index.html#claims"),
    ]
    assert "small (small again)" in to_html(catalogue)
    assert catalogue.select_by_state("copy").empty


def test_a_changed_ledger_is_read_again(tmp_path):
    parent = tmp_path / "runs"
    run_shipped(parent, "small", lambda levels, seed: None)
    assert build_catalogue(parent).claims.empty
    run_shipped(parent, "small", scored)
    assert len(build_catalogue(parent).claims) == 1


def test_the_files_have_the_numbers_of_the_page_and_are_deterministic(tmp_path):
    parent = tmp_path / "runs"
    for folder in ("one", "two"):
        add(parent, folder)
    catalogue, page = write_index(parent)
    assert page == parent / "index.html"
    first = {name: (parent / name).read_bytes() for name in ("index.html", "index.json", "claims.csv")}
    write_index(parent)
    assert first == {name: (parent / name).read_bytes() for name in first}
    document = json.loads(first["index.json"])
    assert document["schema"] == 1
    assert [row["claim"] for row in document["claims"]] == ["ok", "no"] * 2
    assert document["claims"][0]["mean_difference"] == catalogue.claims["mean_difference"].iloc[0]
    assert len(document["studies"]) == 4
    assert document["notes"] == describe_multiplicity(catalogue.claims)
    with (parent / "claims.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["p_catalogue"]) for row in table] == catalogue.claims["p_catalogue"].tolist()


def test_several_processes_can_write_one_index_concurrently(tmp_path):
    parent = tmp_path / "runs"
    add(parent, "one")
    errors = []

    def write():
        try:
            for _ in range(3):
                write_index(parent)
        except Exception as error:  # noqa: BLE001 -- raised again by the main thread
            errors.append(error)

    write()
    page = (parent / "index.html").read_bytes()
    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add((parent / "index.html").read_bytes())
    for thread in threads:
        thread.join()
    assert (errors, seen | {page}) == ([], {page})
    assert sorted(path.name for path in parent.iterdir()) == ["claims.csv", "index.html", "index.json", "one"]


def test_an_index_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "runs" / "index.json").mkdir()
    with pytest.raises(DirectoryError, match=r"runs: the index cannot be written: "):
        write_index(tmp_path / "runs")


# --- the page ---


def hostile(parent):
    name = HOSTILE[0].replace("(1)", "")
    factors = {name: {"key": "model.init_args.activation", "levels": HOSTILE}}
    claims = {"<b>": {"factor": name, "better": HOSTILE[1], "than": HOSTILE[0], "says": "<img src=x onerror=alert(5)>"}}
    add(parent, 'x"><script>alert(2)<', factors=factors, claims=claims, question="</title><script>", chapter="<i>& %")
    (parent / "<script>broken").mkdir()
    (parent / "<script>broken" / "ledger.sqlite").write_text("</main>")


@pytest.fixture(params=["full", "hostile"])
def html(request, tmp_path):
    parent = tmp_path / "runs"
    if request.param == "hostile":
        hostile(parent)
    else:
        add(parent, "one", chapter="Activations")
        add(parent, "plain", claims={})
        run_shipped(parent, "small", lambda levels, seed: scored(levels, seed) if seed == 0 else None)
    return to_html(build_catalogue(parent))


def test_the_page_is_valid_and_links_only_to_sections_and_reports(html):
    page = Page(html)
    assert (page.faults, page.open) == ([], [])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all(link.startswith("#") or "/report/index.html" in link for link in links)
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "form", "img"} == set()
    policies = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert len(page.all("script")) == 1


def test_names_are_shown_as_text_and_never_as_markup(tmp_path):
    hostile(tmp_path / "runs")
    texts = " ".join(Page(to_html(build_catalogue(tmp_path / "runs"))).texts)
    for name in ("<img src=x onerror=alert(5)>", "<i>& %".replace(" %", "\N{NO-BREAK SPACE}%"), "<script>broken"):
        assert name in texts


def test_the_page_counts_claims_by_verdict_and_studies_by_state(tmp_path):
    parent = tmp_path / "runs"
    add(parent, "one", chapter="Activations")
    add(parent, "plain", claims={})
    run_shipped(parent, "small", lambda levels, seed: scored(levels, seed) if seed == 0 else None)
    text = " ".join(" ".join(Page(to_html(build_catalogue(parent))).texts).split())
    assert "Of 3 claims tested, 1 is supported, 1 is practically equal and 1 is undecided." in text
    assert "Complete 2 Incomplete 1 Not run 1" in text
    assert "Without claims: plain." in text
    assert "2 of 4 trials have not been trained" in text
    assert f"ablate run quiet --out {parent}/quiet" in text
    assert "activation: relu − sigmoid" in text
    assert "test/acc · Digits · MLP 8" in text


# --- settings ---


def test_a_setting_is_the_data_and_the_model_in_a_few_words():
    base = {
        "model": {"class_path": "lit_models.MLP", "init_args": {"hidden": [64, 64, 64]}},
        "data": {"class_path": "datamodules.Sentiment", "init_args": {"files": "restaurant_reviews/Reviews.tsv"}},
    }
    study = make_study(base=base)
    assert (describe_data(study), describe_model(study)) == ("Sentiment (restaurant_reviews)", "MLP 3 × 64")
    base["model"]["init_args"]["hidden"] = [32, 64]
    base["data"]["init_args"] = {"files": {"neg": ["rt/a.neg"], "pos": ["rt/a.pos"]}}
    assert (describe_data(make_study(base=base)), describe_model(make_study(base=base))) == (
        "Sentiment (rt)",
        "MLP 32-64",
    )
    base["data"] = "datamodules.Digits"
    factors = {"width": {"key": "model.init_args.hidden", "levels": [[2], [3]]}}
    assert (
        describe_data(make_study(base=base, factors=factors)),
        describe_model(make_study(base=base, factors=factors)),
    ) == (
        "Digits",
        "MLP",
    )
    networks = {"net": {"key": "model", "levels": {"a": {"class_path": "A"}, "b": {"class_path": "B"}}}}
    assert describe_model(make_study(base=base, factors=networks)) == "by net"
    assert describe_model(make_study(base={"data": "D"}, factors=networks)) == "by net"


def test_a_claim_on_an_interaction_names_both_contexts():
    claim = CLAIMS["ok"] | {"more_under": {"init": "he"}, "than_under": {"init": "xavier"}}
    (read,) = make_study(claims={"c": claim}).claims
    assert describe_contrast(read) == "activation: relu − sigmoid, under init=he more than under init=xavier"


# --- multiple comparisons ---


def test_expected_false_verdicts_are_over_tested_studies_and_claims(tmp_path):
    parent = tmp_path / "runs"
    for number in range(4):
        add(parent, f"study {number}")
    lines = describe_multiplicity(build_catalogue(parent).claims)
    assert (
        "Over 4 studies without any true difference, up to 0.2 studies with a false verdict are expected." in lines[0]
    )
    assert "the probability of at least one is up to 19 %" in lines[0]
    assert lines[1] == (
        "With Holm’s method over all 8 tested claims, 0 of the 4 supported or contradicted claims remain significant; "
        "not study 0: no, study 1: no, study 2: no, study 3: no."
    )
    assert "If all 8 claims with a margin were such, up to 0.4 would be expected to be called equal; 4 are." in lines[2]
    (only, *_) = describe_multiplicity(build_catalogue(parent).claims.iloc[:2])
    assert "Over " not in only


def test_p_is_adjusted_over_all_claims_and_lost_claims_are_named(tmp_path):
    parent = tmp_path / "runs"

    def small_effect(levels, seed):
        return make_result(0.9 + (levels["activation"] == "relu") * (0.010 + 0.004 * (seed - 2)))

    claim = {"ok": CLAIMS["ok"]}
    for number in range(4):
        add(parent, f"s{number}", small_effect, claims=claim)
    claims = build_catalogue(parent).claims
    p = claims["p_value"].iloc[0]
    assert p < 0.05
    assert claims["p_catalogue"].tolist() == pytest.approx([min(1, 4 * p)] * 4)
    assert p * 4 >= 0.05
    expected = "0 of the 4 supported or contradicted claims remain significant; not s0: ok, s1: ok, s2: ok, s3: ok."
    assert expected in describe_multiplicity(claims)[1]


def test_claims_that_remain_have_their_error_probability(tmp_path):
    parent = tmp_path / "runs"

    def large_effect(levels, seed):
        return make_result(0.8 + (levels["activation"] == "relu") * (0.1 + 0.001 * seed))

    for number in range(2):
        add(parent, f"s{number}", large_effect, claims={"ok": CLAIMS["ok"]})
    assert describe_multiplicity(build_catalogue(parent).claims)[1].endswith(
        "2 of the 2 supported or contradicted claims remain significant. This keeps the probability of any false "
        "verdict among them at 5 % or less."
    )


def test_a_ledger_that_is_being_written_can_be_read(tmp_path):
    folder = run_shipped(tmp_path / "runs", "small", scored)
    with Ledger(folder / "ledger.sqlite", writable=True):
        assert len(build_catalogue(tmp_path / "runs").claims) == 1


def test_a_copy_of_a_folder_is_listed_and_not_counted(tmp_path):
    runs = tmp_path / "runs"
    add(runs, "one", chapter="Activations")
    original = build_catalogue(runs)
    shutil.copytree(runs / "one", runs / "a copy")
    add(runs, "fewer", name="one", seeds=2, chapter="Activations")
    add(runs, "other", name="two", chapter="Activations")
    catalogue = build_catalogue(runs)
    assert set(catalogue.claims["folder"]) == {"one", "other"}
    assert catalogue.claims[catalogue.claims["folder"] == "one"]["p_adjusted"].tolist() == (
        original.claims["p_adjusted"].tolist()
    )
    assert rows(catalogue.chapters, "chapter", "studies")[0] == ("Activations", 3)  # with the shipped one, not run
    copies = catalogue.select_by_state("copy")
    assert sorted(copies["note"]) == [
        "a copy: not counted, since one has all its trials",
        "fewer: not counted, since one has all its trials",
    ]
    assert copies["num_claims"].sum() == copies["num_ended"].sum() == copies["seconds"].sum() == 0
    lines = summarise_index(catalogue, runs / "index.html")
    assert "studies: 2 complete, 2 not run, 2 copy" in lines[0]
    assert [*copies["note"]] == lines[1:3]
    page = to_html(catalogue)
    assert all(note in page for note in copies["note"])
