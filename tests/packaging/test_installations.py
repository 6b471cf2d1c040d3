"""Name clashes with a user's folders, for a wheel, an editable installation and a checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

STUDY = """
question: Is a larger batch as good?
base:
  model: {class_path: lit_models.mine.Net}
  data: {class_path: datamodules.mine.Mine}
  trainer: {max_epochs: 1, limit_train_batches: 2}
factors:
  batch: {key: data.init_args.batch_size, levels: [16, 32]}
seeds: 2
metric: {name: test/acc}
"""
MINE = "from datamodules import Digits\n\n\nclass Mine(Digits):\n    pass\n"
NET = "from lit_models import Perceptron\n\n\nclass Net(Perceptron):\n    pass\n"
SCRIPT = """
from reports import load_trials
from experiments import load_study
from datamodules import MNIST
from datamodules.mine import Mine
from lit_models import MLP
from lit_models.mine import Net

assert MNIST.__module__ == "datamodules.mnist" and Mine.__module__ == "datamodules.mine"
assert MLP.__module__ == "lit_models.mlp" and Net.__module__ == "lit_models.mine"
print(load_study("study.yaml").name, load_trials("runs/study")["test/acc"].notna().sum())
"""


@dataclass(frozen=True)
class Installation:
    """Installation of the suite: commands that start Python and `ablate`, and the folder of its files."""

    python: tuple[str, ...]
    ablate: tuple[str, ...]
    environment: dict[str, str]
    home: Path

    def run(self, project, *command):
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | self.environment
        return subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=600
        )


def make_environment(folder):
    """Make an environment with the dependencies of the suite and without the suite."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    shown = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    packages = Path(shown.stdout.strip())
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))  # a .pth there is not read: no suite
    return python, packages


@pytest.fixture(scope="module", params=["wheel", "editable", "checkout"])
def installation(request, tmp_path_factory):
    if (uv := shutil.which("uv")) is None and request.param != "checkout":
        pytest.skip("needs uv")
    folder = tmp_path_factory.mktemp(request.param)
    python, packages = make_environment(folder / "env")
    if request.param == "checkout":
        return Installation((python,), (python, "-m", "ablate"), {"PYTHONPATH": str(ROOT)}, ROOT)
    source = ["-e", str(ROOT)]
    if request.param == "wheel":
        subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], check=True)
        source = [str(next(folder.glob("*.whl")))]
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--python", python, *source], check=True)
    home = packages if request.param == "wheel" else ROOT
    return Installation((python,), (str(folder / "env" / "bin" / "ablate"),), {}, home)


@pytest.fixture(params=["datamodules", "lit_models"])
def project(request, tmp_path):
    """Make a user's folder with a package with `__init__.py`, one without, and folders of results."""
    for name, text in {
        "study.yaml": STUDY,
        "script.py": SCRIPT,
        "datamodules/mine.py": MINE,
        "lit_models/mine.py": NET,
        f"{request.param}/__init__.py": "raise RuntimeError('only the suite has a package of this name')\n",
        "reports/june.txt": "",
        "experiments/notes.txt": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_command_workers_and_a_script_import_both_packages(installation, project):
    ended = installation.run(project, *installation.ablate, "run", "study.yaml", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert "4/4 trials done" in ended.stdout
    ended = installation.run(project, *installation.python, "script.py")
    assert (ended.returncode, ended.stdout) == (0, "study 4\n"), ended.stderr


def test_a_script_in_another_folder_trains_in_workers(installation, project, tmp_path_factory):
    """Use a folder that is on the path of the script only: the fork server lacks it, and workers receive it later."""
    (project / "elsewhere.py").write_text(
        "import sys\nfrom lit_models.mine import Net\nfrom experiments import RunOptions, load_study, run\n"
        "if __name__ == '__main__':\n"
        "    print(run(load_study(sys.argv[1]), 'out', RunOptions(num_slots=1)).counts['finished'])\n"
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    ended = installation.run(elsewhere, *installation.python, project / "elsewhere.py", project / "study.yaml")
    own_init = (project / "lit_models" / "__init__.py").exists()
    if own_init:  # a script that imports it before the suite has its own package, and this one raises
        assert "only the suite has a package of this name" in ended.stderr
    else:
        assert (ended.returncode, ended.stdout) == (0, "4\n"), ended.stderr


@pytest.mark.ray
def test_a_ray_cluster_imports_both_packages(installation, project):
    ended = installation.run(project, *installation.ablate, "run", "study.yaml", "--runner", "ray", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert "4/4 trials done" in ended.stdout


@pytest.mark.parametrize("file", ["experiments/__init__.py", "reports/__init__.py", "datamodules/mnist.py"])
def test_a_clash_is_an_error_of_one_line(installation, file, tmp_path):
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text("")
    ended = installation.run(tmp_path, *installation.ablate, "check", "quickstart")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"ablate: {tmp_path}/{file.removesuffix('/__init__.py')}: ")
    assert ended.stderr.endswith("only one of the two can be imported by this name; rename yours\n")
    assert len(ended.stderr.splitlines()) == 1


def test_the_suite_is_imported_from_its_installation(installation, tmp_path):
    code = "import experiments, sys; print(experiments.__file__)"
    ended = installation.run(tmp_path, *installation.python, "-c", code)
    assert Path(ended.stdout.strip()).parents[1].samefile(installation.home)


def test_the_wheel_has_each_file_of_the_suite_and_nothing_else(tmp_path):
    if (uv := shutil.which("uv")) is None:
        pytest.skip("needs uv")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    packages = ("ablate", "ablation_suite", "experiments", "reports", "lit_models", "datamodules")
    assert found == {name for name in listed if name.split("/")[0] in packages and "/" in name}
