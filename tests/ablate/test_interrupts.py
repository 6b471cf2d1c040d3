"""Ctrl-C at the start of a command, sent at the import of a given module rather than after a given time."""

import os
import signal
import subprocess
import sys

import pytest

INTERRUPTS_ITSELF = """
import os, signal, sys
import ablation_suite  # its finder comes second then

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {at!r}:
            try:
                {kill}
            except KeyboardInterrupt:
                raise AttributeError("as NumPy makes of it") from None

{condition}sys.meta_path.insert(0, Interrupts())
"""
COMMAND = "\nfrom ablate.__main__ import main\nsys.exit(main())\n"


def interrupted_at(at, *arguments, before=signal.SIG_DFL):
    code = INTERRUPTS_ITSELF.format(at=at, kill="os.kill(os.getpid(), signal.SIGINT)", condition="") + COMMAND
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, before),
    )


@pytest.mark.parametrize("at", ["experiments", "experiments.study.design", "ablate.wandb"])
@pytest.mark.parametrize("command", ["run", "gradcheck"])
def test_an_interrupt_while_the_command_is_imported_is_quiet(at, command):
    ended = interrupted_at(at, command, "quickstart")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "ablate: interrupted\n")


@pytest.mark.parametrize("at", ["numpy", "torch", "lightning"])
def test_an_interrupt_while_gradcheck_imports_torch_is_quiet(at):
    ended = interrupted_at(at, "gradcheck", "quickstart")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "ablate: interrupted\n")


def test_an_ignored_signal_does_not_interrupt():
    ended = interrupted_at("experiments.study.design", "--help", before=signal.SIG_IGN)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_interrupt_while_the_fork_server_starts_is_quiet(tmp_path):
    kill = "os.killpg(0, signal.SIGINT)"  # as a terminal does
    own = INTERRUPTS_ITSELF.format(
        at="experiments.study.design", kill=kill, condition="if 'ABLATE_PRELOAD' in os.environ: "
    )
    (tmp_path / "sitecustomize.py").write_text(own)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    running = subprocess.Popen(
        [sys.executable, "-c", "import sys" + COMMAND, "run", "quickstart", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )
    _, err = running.communicate(timeout=600)
    assert (running.returncode, err) == (130, "ablate: interrupted; the same command continues\n")
