"""Dashboards: their panels, the keys that these need in runs, and saving."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor
from mechanism_ledger import depth_study, inside_ledger
from wandb_server import WandbServer

from ablate.commands import main
from experiments.errors import InputError
from experiments.ledger.ledger import Ledger
from experiments.trials.trial import TrialStatus
from reports import build_report
from reports.wandb import make_run_content, resolve_destination
from reports.wandb.dashboard.build import build_dashboard, to_json
from reports.wandb.dashboard.panels import is_averaged_by_level, list_metrics
from reports.wandb.dashboard.views import check_version

CURVE, BAR, TABLE, PAGE = "Run History Line Plot", "Bar Chart", "Weave", "Media Browser"
EPOCHS = tuple(
    {"train/loss": 1.0 / epoch, "val/loss": 1.1 / epoch, "val/acc": 0.5 + epoch / 20} for epoch in range(1, 4)
)


def measure(levels, seed, epochs=EPOCHS):
    gain = sum(len(level) for level in levels.values()) / 100
    return make_result(0.5 + gain + seed / 100, epochs=epochs)


def factors_named(*names, levels=("off", "on")):
    return {name: {"key": f"model.init_args.a{number}", "levels": list(levels)} for number, name in enumerate(names)}


def content_of(directory, **destination):
    report = build_report(directory)
    return json.loads(
        to_json(build_dashboard(report, resolve_destination(directory, report.study.name, **destination)))
    )


def sections_of(content):
    return {part["name"]: part for part in content["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]}


def grids_of(content):
    """Return the panel grids of the report by the heading above them."""
    grids, heading = {}, None
    for block in content["report"]["spec"]["blocks"]:
        if block["type"] == "heading":
            heading = block["children"][0]["text"]
        if block["type"] == "panel-grid":
            grids[heading] = block["metadata"]
    return grids


def texts_of(content):
    def text(block):
        return block.get("content") or block.get("text") or "".join(map(text, block.get("children", [])))

    return "\n".join(map(text, content["report"]["spec"]["blocks"]))


def plots_of(panels):
    return [panel for panel in panels if panel["viewType"] in {CURVE, BAR}]


def make_filter(run_set):
    return {item["key"]["name"]: item["value"] for item in run_set["filters"]["filters"]}


def every_panel(content):
    for section in sections_of(content).values():
        yield from section["panels"]
    for grid in grids_of(content).values():
        yield from grid["panelBankSectionConfig"]["panels"]


def every_run_set(content):
    yield from content["workspace"]["spec"]["section"]["runSets"]
    for grid in grids_of(content).values():
        yield from grid["runSets"]


def runs_in(directory):
    """Return the contents of a folder's finished runs."""
    report = build_report(directory)
    destination = resolve_destination(directory, report.study.name)
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        ids = [
            row["trial_id"]
            for row in ledger.trials()
            if row["status"] in {"finished", TrialStatus.DIVERGED, TrialStatus.FAILED}
        ]
        return [make_run_content(ledger.trial(trial_id), report.study.name, destination) for trial_id in ids]


def value_at(run, section, name):
    """Return the value that W&B finds in a run under a key; configs have `value` below each key."""
    if section == "summary":
        return run.summary[name]
    assert section == "config"
    found = {key: {"value": value} for key, value in run.config.items()}
    for part in name.split("."):
        found = found[part]
    return found


def test_the_section_of_a_factor_averages_the_runs_of_each_level(tmp_path):
    content = content_of(make_ledger(tmp_path, make_study(), measure))
    sections = sections_of(content)
    assert list(sections) == ["Answer", "By activation", "By init", "Cells", "Tables and report"]
    panels = sections["By activation"]["panels"]
    assert [(panel["viewType"], panel["config"]["metrics"]) for panel in panels] == [
        (BAR, ["test/acc"]),
        (CURVE, ["val/acc"]),
        (CURVE, ["val/loss"]),
        (CURVE, ["train/loss"]),
    ]
    shared = {"groupBy": "factors.value.activation", "groupAgg": "mean", "groupArea": "stddev", "aggregate": True}
    assert all(panel["config"] | shared == panel["config"] for panel in panels)
    assert {panel["config"]["xAxis"] for panel in panels[1:]} == {"epoch"}
    assert panels[0]["config"]["chartTitle"] == "final test/acc by activation: mean and SD, 10 runs a level"
    assert all(panel["config"]["limit"] == 30 for panel in panels)  # W&B shows ten runs where nothing is said
    assert not sections["By activation"]["localPanelSettings"]["useRunsTableGroupingInPanels"]


def test_cells_use_the_groups_of_the_run_set_which_are_all_factors(tmp_path):
    content = content_of(make_ledger(tmp_path, make_study(), measure), group="mine")
    section = sections_of(content)["Cells"]
    assert section["localPanelSettings"]["useRunsTableGroupingInPanels"]
    assert all("groupBy" not in panel["config"] for panel in section["panels"])
    assert section["panels"][0]["config"]["chartTitle"].endswith("5 seeds a cell")
    (run_set,) = content["workspace"]["spec"]["section"]["runSets"]
    assert run_set["grouping"] == [
        {"section": "config", "name": "factors.value.activation"},
        {"section": "config", "name": "factors.value.init"},
    ]
    assert make_filter(run_set) == {"group": "mine", "jobType": ["train", "aggregate"]}
    assert run_set["sort"]["keys"] == [{"key": {"section": "summary", "name": "test/acc"}, "ascending": False}]
    assert run_set["runFeed"]["columnOrder"][1:4] == [
        "config:factors.value.activation",
        "config:factors.value.init",
        "config:seed.value",
    ]


def test_the_report_has_answer_verdicts_claims_and_the_source_of_numbers(tmp_path):
    claims = {"tanh-wins": {"factor": "activation", "better": "tanh", "than": "sigmoid", "says": "Tanh <wins>"}}
    directory = make_ledger(tmp_path, make_study(claims=claims), measure)
    content = content_of(directory)
    blocks = content["report"]["spec"]["blocks"]
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert headings == [
        "Question",
        "Answer",
        "Contrasts",
        "Claims",
        "By activation",
        "By init",
        "Cells",
        "Tables and report",
        "Exploratory: parameter importance",
    ]
    text = texts_of(content)
    (row,) = [line for line in text.splitlines() if line.startswith("| activation: relu - sigmoid ")]
    assert build_report(directory).main_effects["verdict"].tolist()[1] == row.split("|")[-2].strip()
    assert "come from the study's ledger" in text
    assert "Written from 30 trials: 30 finished." in text
    assert "Tanh &lt;wins>" in text
    assert "no verdict" in text.split("Exploratory")[1]


def test_tables_and_page_are_shown_from_the_report_run(tmp_path):
    content = content_of(make_ledger(tmp_path, make_study(), measure))
    grid = grids_of(content)["Tables and report"]
    assert make_filter(grid["runSets"][0])["jobType"] == "aggregate"
    shown = json.dumps(grid["panelBankSectionConfig"]["panels"])
    for table in ("cells", "contrasts", "interactions", "shares"):
        assert f'"tables/{table}"' in shown
    assert "tables/claims" not in shown  # the study has none
    assert grid["panelBankSectionConfig"]["panels"][-1]["config"]["mediaKeys"] == ["report"]


STUDIES = {
    "two factors": make_study(),
    "one factor": one_factor(),
    "five factors": make_study(factors=factors_named(*"abcde"), seeds=2),
    "odd names": make_study(factors=factors_named("weight decay", "a.b", "a_b", "value", "Größe/=<>'\"")),
    "odd levels": make_study(factors=factors_named("it's", levels=("a = 'b' and c", '"<0.5>"', "0.5"))),
    "one at a time": make_study(design="one_at_a_time"),
    "an excluded cell": make_study(exclude=[{"activation": "relu", "init": "he"}]),
    "folds": one_factor(folds=5),
    "one seed": make_study(seeds=1),
}


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_panels_and_run_sets_use_only_keys_that_runs_have(tmp_path, study):
    directory = make_ledger(tmp_path, study, measure)
    content = content_of(directory)
    runs = runs_in(directory)
    plots = plots_of(every_panel(content))
    assert plots
    for panel in plots:
        (metric,) = panel["config"]["metrics"]
        over_epochs = panel["viewType"] == CURVE
        holders = [run for run in runs if metric in (run.rows[0] if over_epochs else run.summary)]
        assert holders == runs, metric
        if over_epochs:
            assert all(panel["config"]["xAxis"] in row for run in runs for row in run.rows)
        if "groupBy" in panel["config"]:
            assert len({value_at(run, "config", panel["config"]["groupBy"]) for run in runs}) > 1
    for run_set in every_run_set(content):
        for key in run_set["grouping"]:
            assert {value_at(run, **key) for run in runs} == set(
                study.factors[list(runs[0].config["factors"]).index(key["name"].split(".")[-1])].level_names
            )
        columns = [column.split(":", 1) for column in run_set["runFeed"]["columnOrder"]]
        assert all(value_at(run, *column) is not None for run in runs for column in columns if column[0] != "run")


def selected(run_set, runs):
    """Return the runs that pass a run set's filters on the config."""
    return [
        run
        for run in runs
        if all(
            value_at(run, item["key"]["section"], item["key"]["name"]) == item["value"]
            for item in run_set["filters"]["filters"]
            if item["key"]["section"] == "config"
        )
    ]


def test_one_at_a_time_designs_show_a_factor_with_the_others_at_reference(tmp_path):
    study = make_study(design="one_at_a_time")
    directory = make_ledger(tmp_path, study, measure)
    content, runs = content_of(directory), runs_in(directory)
    for factor, cells in (("activation", 3), ("init", 2)):
        (run_set,) = grids_of(content)[f"By {factor}"]["runSets"]
        chosen = selected(run_set, runs)
        assert len(chosen) == cells * 5
        others = {name for name in ("activation", "init") if name != factor}
        assert {run.config["factors"][name] for run in chosen for name in others} == {
            study.factor(name).reference for name in others
        }
    panels = grids_of(content)["By activation"]["panelBankSectionConfig"]["panels"]
    assert panels[0]["config"]["chartTitle"].endswith("5 runs a level")
    # a workspace has one run set, in which a reference would be averaged with the other factors' changes
    assert list(sections_of(content)) == ["Answer", "Cells", "Tables and report"]
    assert "panels by factor are in the report" in sections_of(content)["Answer"]["panels"][0]["config"]["value"]
    assert not is_averaged_by_level(build_report(directory))


def test_metrics_inside_the_network_have_separate_sections(tmp_path):
    epochs = tuple(row | {"grad/layer1": 0.1, "activation/dead": 0.0} for row in EPOCHS)
    directory = make_ledger(tmp_path, make_study(), lambda levels, seed: measure(levels, seed, epochs))
    assert list_metrics(build_report(directory)).internal == ("activation/dead", "grad/layer1")
    content = content_of(directory)
    sections = sections_of(content)
    for factor in ("activation", "init"):
        inside = sections[f"Inside the network, by {factor}"]
        assert [panel["config"]["metrics"] for panel in inside["panels"]] == [["activation/dead"], ["grad/layer1"]]
        assert {panel["config"]["groupBy"] for panel in inside["panels"]} == {f"factors.value.{factor}"}
        assert not inside["isOpen"]
        assert f"Inside the network, by {factor}" in grids_of(content)
    assert "grad/layer1" not in json.dumps(sections["By activation"])


@pytest.mark.parametrize("design", ["full", "one_at_a_time"])
def test_mechanisms_have_a_few_panels_by_cell(design, tmp_path):
    directory = inside_ledger(tmp_path, depth_study(depths=(4, 16), design=design))
    content = content_of(directory)
    gradients = [
        f"mechanism/{quantity}/{layer}"
        for quantity in ("weight_gradient", "activation_gradient", "saturated", "dead")
        for layer in ("stem", "block9", "head")
    ]
    expected = ["mechanism/weight_gradient_ratio", "gap/acc", *gradients]
    section = sections_of(content)["Mechanisms"]
    for panels in (
        section["panels"],
        grids_of(content)["Mechanisms"]["panelBankSectionConfig"]["panels"],
    ):
        assert [panel["config"]["metrics"][0] for panel in panels] == expected
        is_log = [panel["config"]["metrics"][0] for panel in panels if panel["config"].get("yLogScale")]
        assert is_log == [expected[0], *gradients[:6]]
        assert not any("groupBy" in panel["config"] for panel in panels)
    assert section["localPanelSettings"]["useRunsTableGroupingInPanels"]
    assert not section["isOpen"]
    others = {panel["config"]["metrics"][0] for panel in plots_of(every_panel(content))} - set(expected)
    assert others == {"test/acc", "val/acc", "train/loss"}


def test_metrics_named_like_those_of_w_and_b_keep_their_names(tmp_path):
    epochs = tuple(row | {"Step": 1.0, "loss.total": 0.5, "seed": 2.0} for row in EPOCHS)
    directory = make_ledger(tmp_path, one_factor(), lambda levels, seed: measure(levels, seed, epochs))
    metrics = {panel["config"]["metrics"][0] for panel in plots_of(every_panel(content_of(directory)))}
    assert metrics == {"test/acc", "val/acc", "val/loss", "train/loss", "Step", "loss.total", "seed"}


def test_trials_without_metrics_remove_no_panels(tmp_path):
    def odd(levels, seed):
        if seed > 2:
            return [make_result(status=TrialStatus.DIVERGED), make_result(status=TrialStatus.FAILED)][seed - 3]
        return None if seed == 2 else measure(levels, seed)

    content = content_of(make_ledger(tmp_path, make_study(), odd))
    assert len(plots_of(every_panel(content))) == 2 * 3 * 4  # workspace and report, two factors and cells, four metrics
    text = texts_of(content)
    assert "6 diverged, 6 failed, 12 finished, 6 pending" in text
    assert "Caveats" in text
    assert "failed; ablate show prints why" in text


def test_trials_without_curves_have_bar_plots_only(tmp_path):
    content = content_of(make_ledger(tmp_path, one_factor(), lambda levels, seed: measure(levels, seed, ())))
    assert {panel["viewType"] for panel in plots_of(every_panel(content))} == {BAR}


def test_a_study_without_results_has_no_dashboard(tmp_path, capsys):
    make_ledger(tmp_path, make_study(), lambda levels, seed: None)
    assert main(["wandb", "dashboard", str(tmp_path), "--dry-run"]) == 2
    assert "no trial has finished" in capsys.readouterr().err
    assert main(["wandb", "dashboard", str(tmp_path / "absent"), "--dry-run"]) == 2
    assert "there is no" in capsys.readouterr().err


def test_emojis_in_the_name_of_a_workspace_are_replaced(tmp_path):
    content = content_of(make_ledger(tmp_path, make_study(name="lr + decay 🚀"), measure))
    assert content["workspace"]["displayName"] == "Ablation: lr _ decay _"
    assert content["report"]["displayName"] == "Ablation: lr + decay 🚀"
    assert make_filter(content["workspace"]["spec"]["section"]["runSets"][0])["group"] == "lr + decay 🚀"


def test_identifiers_are_unique_within_a_view_and_differ_between_studies(tmp_path):
    make_ledger(tmp_path / "a", make_study(), measure)
    make_ledger(tmp_path / "b", make_study(name="other"), measure)
    ids = []
    for name in ("a", "b"):
        content = content_of(tmp_path / name)
        ids += [panel["__id__"] for panel in every_panel(content)]
        ids += [run_set["id"] for run_set in every_run_set(content)]
        ids += [content["workspace"]["name"], content["report"]["name"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "which is not installed"),
        ("0.4.12", "but 0.4.12 is installed"),
        ("0.5.0", "but 0.5.0 is installed"),
        ("0.5.0rc1", "but 0.5.0rc1 is installed"),
        ("0.4.13", None),
        ("0.4.20.post1", None),
    ],
)
def test_another_version_of_wandb_workspaces_is_an_error(found, said, tmp_path, monkeypatch):
    # an installed package is a folder on the path: the real look-up meets one, or none
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    if found is not None:
        info = tmp_path / f"wandb_workspaces-{found}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: wandb-workspaces\nVersion: {found}\n")
    if said is None:
        check_version()
        return
    with pytest.raises(InputError) as error:
        check_version()
    assert said in str(error.value)
    assert 'uv pip install "wandb-workspaces>=0.4.13,<0.5"' in str(error.value)


# ---- the command, in processes of its own --------------------------------------------------------------------------


@pytest.fixture
def server():
    with WandbServer() as running:
        yield running
        assert running.unknown == []
        assert running.trap.hosts == []


@pytest.fixture
def directory(tmp_path):
    return make_ledger(tmp_path / "study", make_study(seeds=2), measure)


def dashboard(directory, *options, environment=None, **variables):
    """Run the command with no variables of W&B but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, "-m", "ablate", "wandb", "dashboard", str(directory), *options],
        env=kept | {"PYTHONPATH": str(Path(__file__).parents[4])} | (environment or {}) | variables,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_same_ledger_prints_the_same_bytes_without_login_or_network(directory, server):
    elsewhere = server.environment() | {"WANDB_API_KEY": "", "WANDB_BASE_URL": "http://nowhere.example"}
    done = dashboard(directory, "--dry-run", environment=elsewhere, PYTHONHASHSEED="1")
    assert (done.returncode, done.stderr) == (0, "")
    report = build_report(directory)
    assert done.stdout == to_json(build_dashboard(report, resolve_destination(directory, report.study.name)))
    assert set(json.loads(done.stdout)) == {"workspace", "report"}
    assert not (directory / "wandb.json").exists()
    assert server.requests == []


@pytest.mark.slow
def test_saving_stores_the_dry_run_and_saving_again_overwrites_it(directory, server):
    options = ("--wandb-project", "my project", "--wandb-group", "first")
    first = dashboard(directory, *options, environment=server.environment())
    assert (first.returncode, first.stderr) == (0, "")
    again = dashboard(directory, environment=server.environment())  # the folder remembers its place
    assert again.stdout == first.stdout
    printed = content_of(directory)
    workspace, report = server.views
    for view, kind in ((workspace, "workspace"), (report, "report")):
        said = printed[kind]
        assert (view.project, view.name) == ("my project", said["name"]) == (said["projectName"], view.name)
        assert view.display_name == said["displayName"] == "Ablation: first"
        assert view.spec == said["spec"]
    assert (workspace.type, report.type, workspace.entity) == ("project-view", "runs", server.entity)
    assert report.description == "Does ReLU train better than sigmoid?"
    shown = workspace.name.removeprefix("nw-").removesuffix("-v")
    lines = first.stdout.splitlines()
    assert lines[0] == f"workspace: {server.url}/loopback/my%20project?nw={shown}"
    assert lines[1].startswith(f"report:    {server.url}/loopback/my%20project/reports/Ablation%3A-first--")
    saving = [name for name in server.operations() if name in {"CreateProject", "SaveStudyView"}]
    assert saving == ["CreateProject", *["SaveStudyView"] * 4]


@pytest.mark.slow
def test_each_group_has_its_dashboard(directory, server):
    for group in ("first", "second"):
        done = dashboard(directory, "--wandb-group", group, "--wandb-entity", "team", environment=server.environment())
        assert done.returncode == 0, done.stderr
    assert [(view.entity, view.display_name) for view in server.views] == [
        ("team", "Ablation: first"),
        ("team", "Ablation: first"),
        ("team", "Ablation: second"),
        ("team", "Ablation: second"),
    ]


@pytest.mark.slow
def test_a_missing_api_key_is_an_error_with_the_login_command(directory, server):
    done = dashboard(directory, environment=server.environment(), WANDB_API_KEY="")
    assert done.returncode == 2
    assert done.stderr == (
        "ablate: there is no API key for Weights & Biases; `wandb login` stores one, or set WANDB_API_KEY; --dry-run "
        "needs none\n"
    )
    assert server.views == []


@pytest.mark.slow
def test_a_rejected_key_is_an_error(directory, server):
    with server.rejecting_key():
        done = dashboard(directory, environment=server.environment())
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ablate: the dashboard could not be saved: {server.url}: ")
    assert "wandb login --relogin" in line


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refusing", "failing", "failing later", "delaying"])
def test_a_failing_server_is_a_one_line_error_in_bounded_time(directory, server, fault):
    troubles = {
        "refusing": server.refusing,
        "failing": server.failing,
        "failing later": lambda: server.failing(operation="SaveStudyView"),
        "delaying": lambda: server.delaying(60),
    }
    with troubles[fault]():
        done = dashboard(directory, environment=server.environment(), WANDB_HTTP_TIMEOUT="5")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ablate: the dashboard could not be saved: {server.url}: no answer in time.")
    assert "repeat the command" in line
    assert "Traceback" not in done.stderr
