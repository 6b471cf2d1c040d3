"""The walls between packages: which may import which, walked in the source, late imports included."""

import ast
import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("ablation_suite", "ablate", "experiments", "reports", "lit_models", "datamodules")

# In these, each file is a room of its own; elsewhere a room is a folder.
SPLIT = {"experiments", "experiments.fusing", "reports", "reports.wandb"}

# Every room, bottom to top, with the rooms that it imports: "rooms of the same package | rooms of experiments | whole
# names". All of them are listed above it, so that no arrow points upwards and there is no circle.
ALLOWED = {
    "ablation_suite": "",
    "lit_models": "|| ablation_suite",
    "datamodules": "|| ablation_suite",
    "experiments.studies": "",
    "experiments.errors": "",
    "experiments.text": "",
    "experiments.child_process": "",
    "experiments.study": "errors text",
    "experiments.trials": "study",
    "experiments.config": "| errors text | ablation_suite",
    "experiments.training": "config text trials",
    "experiments.mechanisms": "errors study text training",
    "experiments.planning": "config errors mechanisms study training trials",
    "experiments.fusing.reasons": "",
    "experiments.fusing.layers": "fusing.reasons",
    "experiments.fusing.reading": "config fusing.reasons training trials",
    "experiments.fusing.fit": "config fusing.reading fusing.layers fusing.reasons mechanisms study training trials",
    "experiments.fusing.admit": "config fusing.reading fusing.fit fusing.layers fusing.reasons training trials",
    "experiments.fusing.trainer": "fusing.admit fusing.reading fusing.fit fusing.reasons training trials",
    "experiments.fusing.groups": "config fusing.admit fusing.reasons fusing.trainer training trials",
    "experiments.fusing": "fusing.groups fusing.trainer",
    "experiments.gradients": "config errors training trials",
    "experiments.runners": "child_process errors",
    "experiments.ledger": "errors study text trials",
    "experiments.execution": "errors fusing ledger planning runners study text training trials || ablation_suite",
    "experiments": "errors execution gradients ledger study trials || ablation_suite",
    "reports.statistics": "",
    "reports.wording": "statistics | study text",
    "reports.analysis": "statistics wording | errors ledger study text trials",
    "reports.report": "analysis wording | errors ledger study text trials",
    "reports.mechanism_maps": "analysis report wording | study trials",
    "reports.figures": "analysis mechanism_maps report statistics wording | study text trials",
    "reports.formats": "analysis mechanism_maps report wording | study text",
    "reports.page": "analysis figures formats mechanism_maps report wording | text trials",
    "reports.write": "formats page report | errors",
    "reports.compare": "analysis report wording | errors text",
    "reports": "analysis compare figures formats page report statistics write || ablation_suite",
    "reports.index": "analysis formats page statistics wording write | errors ledger study text trials",
    "reports.wandb.destination": "| errors",
    "reports.wandb.run_content": "wandb.destination | trials",
    "reports.wandb.live": "wandb.destination wandb.run_content | child_process errors execution ledger trials",
    "reports.wandb.compare": "wandb.destination wandb.live wandb.run_content write"
    " | child_process errors ledger trials",
    "reports.wandb": "wandb.compare wandb.destination wandb.live wandb.run_content",
    "reports.wandb.sweep": "wandb.destination wandb.run_content | errors study text trials",
    "reports.wandb.dashboard": "analysis formats mechanism_maps page report wandb.destination wandb.live"
    " wandb.run_content wording | child_process errors study",
    "ablate": "| errors execution gradients ledger planning runners study text trials"
    " | ablation_suite reports reports.index reports.wandb reports.wandb.dashboard reports.wandb.sweep",
}

WITH_TORCH = {  # torch, lightning or torchvision
    *("lit_models", "datamodules"),
    *(f"experiments.{name}" for name in ("config", "gradients", "mechanisms", "planning", "training")),
    *(f"experiments.fusing.{name}" for name in ("admit", "fit", "groups", "layers", "reading", "trainer")),
}
WITH_PANDAS = {
    *("reports", "reports.compare", "reports.mechanism_maps", "reports.report", "reports.write"),
    *("reports.analysis", "reports.figures", "reports.formats", "reports.index", "reports.page", "reports.wording"),
    *("reports.wandb.dashboard", "datamodules"),
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))}


def room_of(module):
    folder = ".".join(FILES[module].relative_to(ROOT).parent.parts)
    return module if folder in SPLIT else folder


@functools.cache
def imports_of(module):
    """Absolute names of everything a file imports, at the top or late."""
    found = []
    package = FILES[module].relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = f"{base}.{node.module or ''}".strip(".")
            names = [f"{source}.{alias.name}" for alias in node.names]
            found += [name if name in FILES else source for name in names]
    return found


def rooms_imported(room):
    """Rooms of ours, this one left out, that the files of a room import."""
    found = {name for module in FILES if room_of(module) == room for name in imports_of(module) if name in FILES}
    return {room_of(name) for name in found} - {room}


def allowed(room):
    """What ALLOWED says of a room, as whole names: `own | of experiments | whole names`."""
    own, of_experiments, whole = (*ALLOWED[room].split("|"), "", "")[:3]
    top = room.partition(".")[0]
    return {
        *(f"{top}.{name}" for name in own.split()),
        *(f"experiments.{name}" for name in of_experiments.split()),
        *whole.split(),
    }


def importers(*packages):
    """Files, relative to the root, that import one of these packages or something in them."""
    return {
        FILES[module].relative_to(ROOT).as_posix()
        for module in FILES
        if any(name == each or name.startswith(f"{each}.") for name in imports_of(module) for each in packages)
    }


def rooms_with(*packages):
    names = importers(*packages)
    return {room_of(module) for module, path in FILES.items() if path.relative_to(ROOT).as_posix() in names}


def test_every_room_is_listed():
    assert {room_of(module) for module in FILES} == set(ALLOWED)


def test_the_list_goes_from_bottom_to_top():
    order = list(ALLOWED)
    assert [(room, other) for room in order for other in allowed(room) if order.index(other) >= order.index(room)] == []


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_what_it_may_and_needs_all_of_it(room):
    assert rooms_imported(room) == allowed(room)


def test_no_file_imports_itself_by_way_of_others():
    arrows = {module: {name for name in imports_of(module) if name in FILES} - {module} for module in FILES}
    while free := {module for module, needed in arrows.items() if not needed & arrows.keys()}:
        arrows = {module: needed for module, needed in arrows.items() if module not in free}
    assert arrows == {}


def test_which_rooms_import_torch_or_pandas():
    assert rooms_with("torch", "lightning", "torchvision") == WITH_TORCH
    assert rooms_with("pandas") <= WITH_PANDAS


@pytest.mark.parametrize(
    ("package", "files"),
    [
        ("sqlite3", {"experiments/ledger/file.py", "experiments/ledger/reader.py"}),
        ("jsonargparse", {"experiments/config/instantiate.py"}),
        ("multiprocessing", {"experiments/runners/local.py", "experiments/runners/worker.py"}),
        (
            "wandb",
            {f"reports/wandb/{name}.py" for name in ("live/client", "dashboard/save")},
        ),
        (
            "wandb_workspaces",
            {f"reports/wandb/dashboard/{name}.py" for name in ("panels", "views", "wandb_report", "workspace")},
        ),
        ("ray", {"experiments/runners/ray_process.py"}),
        ("torch.func", {"experiments/fusing/fit/step.py"}),
        (
            "argparse",
            {f"ablate/{name}.py" for name in ("arguments", "catalogue", "commands", "gradcheck", "run", "wandb")},
        ),
    ],
)
def test_each_dangerous_thing_has_its_files(package, files):
    assert importers(package) == files


def test_the_command_starts_without_what_is_slow():
    slow = {"torch", "lightning", "pandas", "scipy", "sklearn", "matplotlib", "jinja2", "wandb", "wandb_workspaces"}
    code = f"import sys, experiments, ablate.commands; print(sorted({slow} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout == "[]\n"


def test_git_and_so_ray_ignores_no_file_of_the_suite():
    """Ray sends a checkout to its workers without what .gitignore names."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    files = [str(path.relative_to(ROOT)) for path in FILES.values()]
    found = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        check=False,  # exit code 1 where it finds none
        input="\n".join(files),
        capture_output=True,
        text=True,
    )
    assert found.stdout.splitlines() == []
