"""The arrows between the packages, walked in the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("experiments", "lit_models", "datamodules", "reports")
SOURCES = [path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))]


def imports_of(path):
    """Absolute names of everything a file imports, at the top or late."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            yield f"{base}.{node.module or ''}".strip(".")


def importers(*modules):
    """Files, relative to the root, that import one of the modules or something in them."""
    return {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(name == module or name.startswith(f"{module}.") for name in imports_of(path) for module in modules)
    }


def files_of(*packages):
    return {str(path.relative_to(ROOT)) for path in SOURCES if path.relative_to(ROOT).parts[0] in packages}


@pytest.mark.parametrize("package", ["lit_models", "datamodules"])
def test_models_and_data_import_nothing_of_ours_but_themselves(package):
    others = [other for other in OURS if other != package]
    assert importers(*others) & files_of(package) == set()


def test_experiments_never_imports_models_or_data():
    assert importers("lit_models", "datamodules") == files_of("lit_models", "datamodules") & importers(
        "lit_models", "datamodules"
    )


def test_only_the_command_line_imports_reports():
    assert importers("reports") & files_of("experiments") == {
        f"experiments/{name}.py" for name in ("cli", "cli_catalogue", "cli_run", "cli_wandb")
    }


def test_reports_never_imports_torch_and_of_experiments_only_what_is_pure():
    assert importers("torch", "lightning", "torchvision") & files_of("reports") == set()
    impure = [
        f"experiments.{name}"
        for name in (
            *("train", "plan", "build", "seeding", "run", "run_all", "driver", "fusing", "runners"),
            *("cli", "cli_catalogue", "cli_run", "cli_wandb"),
        )
    ]
    assert importers(*impure) & files_of("reports") == set()


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("sqlite3", {"experiments/ledger_file.py", "experiments/ledger_reading.py"}),
        ("jsonargparse", {"experiments/build.py"}),
        ("multiprocessing", {"experiments/runners/local.py", "experiments/runners/worker.py"}),
        ("wandb", {f"reports/wandb/{name}.py" for name in ("client", "offline", "saving")}),
        ("wandb_workspaces", {"reports/wandb/saving.py", "reports/wandb/views.py"}),
        ("ray", {"experiments/runners/ray_process.py"}),
        ("torch.func", {"experiments/fusing/step.py"}),
        (
            "argparse",
            {f"experiments/cli{part}.py" for part in ("", "_arguments", "_catalogue", "_gradients", "_run", "_wandb")},
        ),
    ],
)
def test_each_dangerous_thing_has_one_place(module, place):
    assert importers(module) == place


def test_runners_know_nothing_of_training():
    runners = {name for name in files_of("experiments") if name.startswith("experiments/runners/")}
    allowed = ("experiments.runners", "experiments.errors")
    for name in runners:
        ours = [found for found in imports_of(ROOT / name) if found.split(".")[0] in OURS]
        assert all(found.startswith(allowed) for found in ours), (name, ours)
    assert importers("torch", "lightning") & runners == set()


def test_the_command_starts_without_what_is_slow():
    slow = {"torch", "lightning", "pandas", "scipy", "sklearn", "matplotlib", "jinja2", "wandb", "wandb_workspaces"}
    code = f"import sys, experiments, experiments.cli; print(sorted({slow} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout == "[]\n"
