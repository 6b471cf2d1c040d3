"""Tests of the README: its commands, YAML, Python, table of commands, and links."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from slow import slow

from ablate.commands import _parser
from experiments import build_cells, load_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run(tmp_path, *arguments):
    command = [sys.executable, *arguments]
    environment = os.environ | {"COLUMNS": "120"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_set_up_is_two_commands_of_which_ci_runs_the_second():
    assert blocks("bash") == ["pip install uv && uv run ablate run quickstart\n", "uv run pytest\n"]
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    assert "uv run pytest\n" in (ROOT / "Makefile").read_text()
    assert "make lint" in (ROOT / ".pre-commit-config.yaml").read_text()


@pytest.mark.slow
def test_the_first_command_ends_with_a_table(tmp_path):
    out = run(tmp_path, "-m", "ablate", "run", "quickstart")
    assert "30/30 trials done" in out
    assert re.search(r"relu - sigmoid.*improves", out.replace("\n", " ")), out
    assert "Written to runs/quickstart/report" in out


@pytest.mark.parametrize(
    "block",
    [block if "own_module.yaml" in block else slow(block) for block in blocks("yaml")],
    ids=lambda block: block.splitlines()[0].removeprefix("# "),
)
def test_each_study_is_a_file_of_the_examples_and_trains(block, tmp_path):
    name = block.splitlines()[0].removeprefix("# ")
    assert (ROOT / name).read_text(encoding="utf-8") == block
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    out = run(tmp_path, "-m", "ablate", "run", name, "--runner", "inline", "--seeds", "2", "--out", "out")
    num_cells = len(build_cells(load_study(ROOT / name)))
    assert f"{2 * num_cells}/{2 * num_cells} trials done" in out


def test_a_level_can_set_several_keys():
    (text,) = re.findall(r"`(levels: \{he_relu: .*?\}\})`", README)
    assert yaml.safe_load(text) == {
        "levels": {"he_relu": {"model.init_args.init": "he", "model.init_args.activation": "relu"}}
    }


@pytest.mark.slow
def test_the_python_example_runs(tmp_path):
    (block,) = blocks("python")
    (tmp_path / "example.py").write_text(block)
    assert "sigmoid" in run(tmp_path, "example.py")


def test_the_data_module_in_the_text_documentation_works():
    (block,) = blocks("python", (ROOT / "docs" / "text.md").read_text(encoding="utf-8"))
    names = {}
    exec(block, names)
    data = names["Tickets"](batch_size=8, seed=0)
    data.prepare_data()
    assert (data.num_classes, data.vocabulary[0]) == (2, ",")


@pytest.mark.slow
def test_the_examples_in_the_report_documentation_run(tmp_path):
    from make_ledger import make_ledger, make_study
    from report_pages import measure

    from reports import write_report

    (tmp_path / "runs").mkdir()
    write_report(make_ledger(tmp_path / "runs" / "quickstart", make_study(), measure))
    figures, document = blocks("python", (ROOT / "docs" / "report.md").read_text(encoding="utf-8"))
    (tmp_path / "example.py").write_text(figures + document)
    out = run(tmp_path, "example.py")
    assert "Forest plot of 3 main effects." in out
    assert "'slopes-0'" in out
    assert (tmp_path / "forest.svg").read_text().startswith("<svg ")


def test_the_claim_in_the_report_documentation_is_tested(tmp_path):
    from mechanism_ledger import depth_study, inside_ledger

    from reports import build_report

    (claim,) = blocks("yaml", (ROOT / "docs" / "report.md").read_text(encoding="utf-8"))
    report = build_report(inside_ledger(tmp_path, depth_study(**yaml.safe_load(claim))))
    assert report.claims[["claim", "finding", "scale"]].to_numpy().tolist() == [["relu-keeps-it", "supported", "log"]]


def test_the_table_has_exactly_the_commands_and_options():
    shown = set(re.findall(r"^\| `ablate (\w+)", README, flags=re.MULTILINE))
    commands = _parser()._subparsers._group_actions[0].choices
    assert shown == set(commands)
    assert (
        len(re.findall(r"^\|---\|---\|\n(?:\|.*\n)*\n", README, flags=re.MULTILINE)[0].splitlines()) > len(commands) + 3
    )
    of_wandb = commands["wandb"]._subparsers._group_actions[0].choices
    assert set(re.findall(r"^\| `ablate wandb (\w+)", README, flags=re.MULTILINE)) == set(of_wandb)
    parsers = [*commands.values(), *of_wandb.values()]
    options = {option for command in parsers for option in command._option_string_actions}
    assert {option for option in options if option not in {"-h", "--help"} and option not in README} == set()


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "CONTRIBUTING.md",
        "benchmarks/README.md",
        *(f"docs/{name}.md" for name in ("catalogue", "cluster", "report", "text", "wandb")),
    ],
)
def test_relative_links_have_targets(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not ((ROOT / path).parent / link).exists()] == []
