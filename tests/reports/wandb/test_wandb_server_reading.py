"""The public API, dashboards and sweeps against the loopback server."""

import json
import re
import sys

import pytest
from wandb_clients import run_python, run_wandb
from wandb_graphql import GraphqlError
from wandb_server import WandbServer
from wandb_sweeps import grid_points

pytestmark = pytest.mark.slow  # what the tests of W&B stand on, which fail when it does

LOGGED = """
import json
import wandb

def log(run_id, lr, num_rows=7, **more):
    run = wandb.init(mode="online", entity="lab", project="digits", id=run_id, reinit="create_new", name=f"lr={lr}",
                     config={"lr": lr, "model": {"width": 8}}, tags=["study"],
                     settings=wandb.Settings(console="off", disable_git=True, x_disable_stats=True), **more)
    for epoch in range(num_rows):
        run.log({"epoch": epoch, "acc": lr + epoch})
    return run

api = wandb.Api()
"""


def test_runs_are_read_back(wandb_server):
    done = run_python(
        wandb_server,
        LOGGED
        + """
log("r1", 1, group="g", job_type="train").finish()
log("r2", 2, group="g", job_type="train").finish(exit_code=1)
log("r3", 3, group="h").finish()
run = api.run("lab/digits/r1")
def ids(**more):
    return [run.id for run in api.runs("lab/digits", **more)]
print(json.dumps({
    "run": [run.id, run.name, run.group, run.job_type, run.tags, run.state, run.config, run.summary["acc"]],
    "scan": [[row["_step"], row["acc"]] for row in run.scan_history()],
    "pages": [row["acc"] for row in run.scan_history(keys=["acc"], page_size=3)],
    "thinned": [row["acc"] for row in run.history(keys=["acc"], samples=3, pandas=False)],
    "states": [run.state for run in api.runs("lab/digits", filters={"group": "g"})],
    "count": len(api.runs("lab/digits", filters={"group": "g"})),
    "in pages": ids(per_page=1),
    "descending": ids(order="-config.lr.value"),
    "config": ids(filters={"config.lr": {"$gte": 2}, "jobType": "train"}),
    "any": ids(filters={"$or": [{"config.lr.value": 1}, {"summary_metrics.acc": 9}]}),
    "nested": ids(filters={"config.model.width": 8, "tags": {"$in": ["study"]}}),
    "none": ids(filters={"group": "absent"}),
}))
""",
    )
    read = json.loads(done.stdout)
    config = {"lr": 1, "model": {"width": 8}}
    assert read["run"] == ["r1", "lr=1", "g", "train", ["study"], "finished", config, 7]
    assert read["scan"] == [[epoch, 1 + epoch] for epoch in range(7)]
    assert read["pages"] == [1 + epoch for epoch in range(7)]
    assert read["thinned"] == [1, 3, 5]
    assert (read["states"], read["count"]) == (["finished", "failed"], 2)
    assert read["in pages"] == ["r1", "r2", "r3"]
    assert read["descending"] == ["r3", "r2", "r1"]
    assert read["config"] == ["r2"]
    assert read["any"] == ["r1", "r3"]
    assert read["nested"] == ["r1", "r2", "r3"]
    assert read["none"] == []


def test_what_is_not_there_is_told(wandb_server):
    done = run_python(
        wandb_server,
        LOGGED
        + """
def error_of(action):
    try:
        return repr(action())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
api.create_project("empty", "lab")
print(json.dumps([
    error_of(lambda: list(api.runs("lab/empty"))),
    error_of(lambda: api.run("lab/empty/r1")),
    error_of(lambda: list(api.runs("lab/absent"))),
    error_of(lambda: api.artifact_exists("lab/empty/report:latest")),
]))
""",
    )
    empty, no_run, no_project, no_artifact = json.loads(done.stdout)
    assert empty == "[]"
    assert no_run.startswith("CommError: Could not find run")
    assert no_project == "ValueError: Could not find project absent"
    assert no_artifact == "False"


def test_files_and_artifacts_are_read_back(wandb_server):
    done = run_python(
        wandb_server,
        LOGGED
        + """
from pathlib import Path
run = log("r1", 1)
artifact = wandb.Artifact("report", "report")
with artifact.new_file("page.html") as page:
    page.write("<p>report</p>")
run.log_artifact(artifact)
run.finish()
user = log("r2", 2)
user.use_artifact("lab/digits/report:latest")
user.finish()
run, found = api.run("lab/digits/r1"), api.artifact("lab/digits/report:v0")
print(json.dumps({
    "summary": json.loads(run.file("wandb-summary.json").download(root="there").read())["acc"],
    "logged": [[logged.name, logged.type] for logged in run.logged_artifacts()],
    "used": [used.name for used in api.run("lab/digits/r2").used_artifacts()],
    "content": (Path(found.download("here")) / "page.html").read_text(),
    "by": found.logged_by().id,
}))
""",
    )
    assert json.loads(done.stdout) == {
        "summary": 7,
        "logged": [["report:v0", "report"]],
        "used": ["report:v0"],
        "content": "<p>report</p>",
        "by": "r1",
    }
    assert [artifact.used_by for artifact in wandb_server.artifacts] == [["r2"]]


def test_runs_are_edited_and_deleted(wandb_server):
    run_python(
        wandb_server,
        LOGGED
        + """
log("r1", 1).finish()
log("r2", 2).finish()
run = api.run("lab/digits/r1")
run.config["lr"] = 5
run.tags.append("superseded")
run.update()
run.summary.update({"acc": 0})
api.run("lab/digits/r2").delete()
""",
    )
    assert list(wandb_server.runs) == [("lab", "digits", "r1")]
    run = wandb_server.runs["lab", "digits", "r1"]
    assert (run.config["lr"], run.tags, run.summary["acc"]) == (5, ["study", "superseded"], 0)


def test_a_server_that_tells_its_lines_gets_runs_appended():
    with WandbServer(appends=True) as server:
        run_python(server, LOGGED + "log('r1', 1, 3).finish(); log('r1', 10, 2).finish()")
        assert [row["acc"] for row in server.runs["lab", "digits", "r1"].history] == [1, 2, 3, 10, 11]


def test_workspaces_and_reports_are_kept(wandb_server):
    done = run_python(
        wandb_server,
        """
import json
import wandb
import wandb_workspaces.reports.v2 as reports
import wandb_workspaces.workspaces as workspaces
panel = reports.LinePlot(x="epoch", y=["val/acc"])
view = workspaces.Workspace(
    entity="lab", project="digits", name="Study", sections=[workspaces.Section(name="Curves", panels=[panel])]
)
try:
    view.save()
except Exception as error:
    print(error)
reports.Report(entity="lab", project="digits", title="Draft").save(draft=True)  # makes the project
report = reports.Report(
    entity="lab", project="digits", title="Verdicts",
    blocks=[reports.MarkdownBlock("| lr | improves |"),
            reports.PanelGrid(runsets=[reports.Runset(entity="lab", project="digits")], panels=[panel])],
)
report.save()
view.save()
view.name = "Study again"
view.save()
print(reports.Report.from_url(report.url).title, "+", workspaces.Workspace.from_url(view.url).name)
print([found.display_name for found in wandb.Api().reports("lab/digits")])
""",
    )
    assert done.stdout.splitlines() == ["project lab/digits not found", "Verdicts + Study again", "['Verdicts']"]
    draft, report, workspace = wandb_server.views
    assert [view.type for view in wandb_server.views] == ["runs/draft", "runs", "project-view"]
    assert (report.entity, report.project, report.display_name) == ("lab", "digits", "Verdicts")
    assert "| lr | improves |" in json.dumps(report.spec)
    assert (workspace.display_name, draft.display_name) == ("Study again", "Draft")
    assert [section["name"] for section in workspace.spec["section"]["panelBankConfig"]["sections"]][:1] == ["Curves"]


@pytest.mark.slow
def test_agents_work_off_a_grid(wandb_server):
    (wandb_server.folder / "train.py").write_text(
        """
import json, sys, wandb
run = wandb.init(settings=wandb.Settings(console="off", disable_git=True, x_disable_stats=True))
run.log({"given": json.loads(sys.argv[1])})
run.finish()
"""
    )
    (wandb_server.folder / "sweep.yaml").write_text(
        f"""
entity: lab
project: digits
method: grid
command: [{sys.executable}, train.py, "${{args_json}}"]
parameters:
  lr: {{values: [0.1, 1]}}
  model: {{parameters: {{width: {{value: 8}}}}}}
"""
    )
    created = run_wandb(wandb_server, "sweep", "sweep.yaml")
    path = re.search(r"wandb agent (\S+)", created.stderr).group(1)
    sweep = wandb_server.sweeps[path.rpartition("/")[2]]
    assert (path, sweep.num_expected, sweep.state) == (f"lab/digits/{sweep.sweep_id}", 2, "PENDING")
    run_wandb(wandb_server, "agent", "--count", "1", path)
    assert len(wandb_server.runs) == 1
    run_wandb(wandb_server, "agent", path)  # until the grid is used up
    assert [run.config for run in wandb_server.runs.values()] == [
        {"lr": 0.1, "model": {"width": 8}},
        {"lr": 1, "model": {"width": 8}},
    ]
    assert [run.history[0]["given"] for run in wandb_server.runs.values()] == list(sweep.handed_out.values())
    assert {(run.sweep, run.state) for run in wandb_server.runs.values()} == {(sweep.sweep_id, "finished")}
    assert sweep.state == "FINISHED"


def test_a_sweep_that_is_no_grid_is_refused(wandb_server):
    (wandb_server.folder / "sweep.yaml").write_text("{method: random, project: p, parameters: {lr: {min: 0, max: 1}}}")
    done = run_wandb(wandb_server, "sweep", "sweep.yaml", check=False)
    assert done.returncode == 1
    assert "grid" in done.stderr


def test_grids_are_enumerated_with_the_last_parameter_varying_fastest():
    parameters = {
        "lr": {"values": [0.1, 1]},
        "model": {"parameters": {"width": {"value": 8}, "act": {"values": ["relu", "tanh"]}}},
    }
    assert grid_points(parameters) == [
        {"lr": 0.1, "model": {"width": 8, "act": "relu"}},
        {"lr": 0.1, "model": {"width": 8, "act": "tanh"}},
        {"lr": 1, "model": {"width": 8, "act": "relu"}},
        {"lr": 1, "model": {"width": 8, "act": "tanh"}},
    ]
    with pytest.raises(GraphqlError, match="cannot enumerate lr"):
        grid_points({"lr": {"min": 0.0, "max": 1.0}})
