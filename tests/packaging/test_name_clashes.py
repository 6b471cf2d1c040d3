"""Messages about a user's folders that have the names of packages of the suite."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablation_suite.names import HOME, NAMES, find_clash, find_hidden


def run_python(project, *arguments):
    """Run Python in a user's folder, with this checkout on its path."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, check=False, timeout=600
    )


def run_ablate(project, *arguments):
    program = Path(sys.executable).with_name("ablate")
    return subprocess.run([program, *arguments], cwd=project, capture_output=True, text=True, check=False, timeout=600)


def write(project, *names, text=""):
    for name in names:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("experiments/__init__.py", "experiments: experiments is a package of the suite"),
        ("reports/__init__.py", "reports: reports is a package of the suite"),
        ("reports.py", "reports.py: reports is a package of the suite"),
        ("ablate/__init__.py", "ablate: ablate is a package of the suite"),
        ("datamodules/mnist.py", "datamodules/mnist.py: datamodules.mnist is a module of the suite"),
        ("lit_models/mlp/__init__.py", "lit_models/mlp: lit_models.mlp is a module of the suite"),
        ("lit_models.py", "lit_models.py: lit_models is a package of the suite"),
        ("lit_models/MLP.py", "lit_models/MLP.py: lit_models.MLP is a name of the suite"),
    ],
)
def test_the_command_names_the_file_to_rename_in_one_line(file, named, tmp_path):
    write(tmp_path, file)
    ended = run_ablate(tmp_path, "list")
    sentence = f"ablate: {tmp_path}/{named}, and only one of the two can be imported by this name; rename yours\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", sentence)


@pytest.mark.parametrize(
    "files",
    [
        ("experiments/notes.txt", "reports/june/index.html", "ablate/study.yaml"),
        ("datamodules/mine.py", "lit_models/mine.py", "datamodules/mnist/train.csv"),
        ("datamodules/__init__.py", "lit_models/__init__.py", "lit_models/mine/__init__.py"),
    ],
)
def test_folders_that_hide_nothing_are_no_clash(files, tmp_path, monkeypatch):
    write(tmp_path, *files)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_clash() is None


def test_a_script_gets_the_error_when_it_imports_the_suite(tmp_path):
    write(tmp_path, "reports/__init__.py")
    write(tmp_path, "script.py", text="import experiments\nfrom reports import load_trials\n")
    ended = run_python(tmp_path, "script.py")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"ablation_suite.names.NameClashError: {tmp_path}/reports: reports is a package of the suite, and only one of "
        "the two can be imported by this name; rename yours"
    )


def test_a_module_in_a_folder_called_experiments_is_an_error(tmp_path):
    write(tmp_path, "experiments/utils.py")
    ended = run_python(tmp_path, "-c", "import experiments; import experiments.utils")
    assert ended.stderr.splitlines()[-1].startswith(
        f"ablation_suite.names.NameClashError: {tmp_path}/experiments: experiments is a package of the suite"
    )


@pytest.mark.slow
def test_a_class_in_a_folder_called_experiments_is_a_study_error(tmp_path):
    write(tmp_path, "experiments/utils.py")
    write(
        tmp_path,
        "study.yaml",
        text="question: Why?\nbase: {model: {class_path: experiments.utils.Net}}\nmetric: {name: val/acc}\n"
        "factors: {lr: {key: model.init_args.lr, levels: [1, 2]}}\nseeds: 2\n",
    )
    ended = run_python(tmp_path, "-m", "ablate", "check", "study.yaml")
    assert ended.returncode == 2
    assert f"cannot be imported: {tmp_path}/experiments: experiments is a package of the suite" in ended.stderr


@pytest.mark.parametrize(
    ("file", "module", "sentence"),
    [
        (
            "experiments/study.py",
            "experiments.study",
            "experiments/study.py: experiments.study is a module of the suite, ",
        ),
        ("datamodules/__init__.py", "datamodules", "datamodules/__init__.py is not imported, "),
        ("datamodules/mine.py", "datamodules.mine", None),
        ("mine.py", "mine", None),
    ],
)
def test_a_missing_class_error_names_the_hidden_file(file, module, sentence, tmp_path, monkeypatch):
    write(tmp_path, file)
    monkeypatch.syspath_prepend(tmp_path)
    found = find_hidden(module)
    assert found is None if sentence is None else found.startswith(f"{tmp_path}/{sentence}")


def test_another_checkout_of_the_suite_is_reported_as_such(tmp_path):
    write(tmp_path, "experiments/__init__.py", text="import ablation_suite\n")
    write(tmp_path, "pyproject.toml", text='[project]\nname = "ablation-suite"\n')
    ended = run_ablate(tmp_path, "list")
    assert ended.returncode == 2
    assert ended.stderr == (
        f"ablate: {tmp_path}: is a checkout of the suite, but {HOME} is in use; use `uv run` there, or another folder\n"
    )


def test_copies_of_the_suite_as_ray_makes_them_are_no_clash(tmp_path):
    """Put each package in a separate folder of the path, followed by the checkout."""
    for name in NAMES:
        shutil.copytree(HOME / name, tmp_path / name / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r} + '/' + name for name in {NAMES!r}]\n"
        "import ablation_suite, experiments, reports\n"
        "from ablation_suite.names import find_clash\n"
        "print(find_clash())"
    )
    ended = run_python(tmp_path, "-c", code)
    assert (ended.stdout, ended.stderr) == ("None\n", "")


@pytest.mark.slow
def test_shared_packages_are_merged_even_if_the_users_come_first(tmp_path):
    write(tmp_path, "datamodules/__init__.py", text="raise RuntimeError('not imported')\n")
    write(tmp_path, "datamodules/mine.py", text="WHOSE = 'mine'\n")
    code = (
        "import sys, ablation_suite; sys.path.insert(0, '.')\n"
        "import datamodules, datamodules.mine; print(datamodules.mine.WHOSE, hasattr(datamodules, 'MNIST'))"
    )
    ended = run_python(tmp_path, "-c", code)
    assert (ended.stdout, ended.stderr) == ("mine True\n", "")


def test_a_script_that_imports_a_clashing_module_first_gets_an_error(tmp_path):
    write(tmp_path, "datamodules/digits.py", text="class Digits: ...\n")
    write(tmp_path, "script.py", text="from datamodules.digits import Digits\n")
    ended = run_python(tmp_path, "script.py")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        f"ablation_suite.names.NameClashError: {tmp_path}/datamodules/digits.py: datamodules.digits is a module of "
    )


def test_a_name_from_the_init_of_a_user_is_an_error_of_one_line(tmp_path):
    write(tmp_path, "lit_models/__init__.py", text="class Net: ...\n")
    write(tmp_path, "script.py", text="import experiments\nfrom lit_models import Net\n")
    ended = run_python(tmp_path, "script.py")
    assert ended.stderr.splitlines()[-1] == (
        f"ablation_suite.names.NameClashError: lit_models has no 'Net': {tmp_path}/lit_models/__init__.py is not "
        "imported, since lit_models is a package of the suite; name your class by its module, as in "
        "lit_models.mine.Mine"
    )


def test_a_user_package_that_is_imported_already_is_an_error_of_run(tmp_path):
    write(tmp_path, "lit_models/__init__.py", text="class Net: ...\n")
    script = (
        "from lit_models import Net\nfrom experiments import RunOptions, run\n"
        "run('quickstart', 'out', RunOptions(runner='inline'))\n"
    )
    write(tmp_path, "script.py", text=script)
    ended = run_python(tmp_path, "script.py")
    assert ended.stderr.splitlines()[-1].startswith(
        f"experiments.errors.InputError: {tmp_path}/lit_models/__init__.py: is imported as lit_models and hides the "
        "suite's; import `experiments` before it, and name your classes by their modules"
    )
    assert not (tmp_path / "out").exists()


def test_unknown_names_raise_attribute_errors_as_usual():
    import lit_models

    assert not hasattr(lit_models, "Nothing")
    assert getattr(lit_models, "Nothing", 1) == 1
    with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'lit_models'"):
        from lit_models import Nothing  # noqa: F401
