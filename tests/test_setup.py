"""The installation that the Makefile makes, tried with an interpreter that only pretends."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from making import ROOT, make, needs_make

PRETENDER = """#!/bin/sh
# Stands for python: notes what it is asked in LOG, "installs" by doing nothing, fails while the file FAIL exists.
case "$1" in
  --version) echo "Python {version}" ;;
  -c) exec "{real}" "-c" "import sys; sys.version_info = ({numbers}, 0, 'final', 0)
import importlib.metadata
importlib.metadata.version = lambda name: '2.13.0'
exec(sys.argv[1])" "$2" ;;
  *) echo "$@" >> "{folder}/log"
     case "$2" in
       venv) mkdir -p "$3/bin" && touch "$3/pyvenv.cfg" && cp "$0" "$3/bin/python" ;;
       pip) [ "$3" = --version ] || [ ! -e "{folder}/fail" ] ;;
     esac ;;
esac
"""


class Installation:
    """A checkout with a space in its path, its pretended Python, and what that was asked."""

    def __init__(self, folder: Path, python: str = "3.12.1") -> None:
        self.folder, self.checkout = folder, folder / "the checkout"
        self.checkout.mkdir()
        for name in ("Makefile", "requirements.txt"):
            shutil.copy(ROOT / name, self.checkout)
        self.python = folder / "python"
        numbers = python.replace(".", ", ")
        self.python.write_text(PRETENDER.format(version=python, numbers=numbers, real=sys.executable, folder=folder))
        self.python.chmod(0o755)

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return make("setup", f"PYTHON={self.python}", *arguments, folder=self.checkout)

    def asked(self) -> list[str]:
        """What Python was asked since the last look: 'venv' or the arguments of pip install."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        lines = [
            line.removeprefix("-m ") for line in lines if "--version" not in line.split() and "--dry-run" not in line
        ]
        return ["venv" if line.startswith("venv") else line.partition("check ")[2].strip() for line in lines]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@needs_make
def test_setup_installs_once(installation: Installation) -> None:
    assert installation.setup().returncode == 0
    assert installation.asked() == ["venv", "-r requirements.txt"]
    assert installation.setup().returncode == 0
    assert installation.asked() == []


@needs_make
def test_setup_follows_the_lock(installation: Installation) -> None:
    installation.setup()
    installation.asked()
    with (installation.checkout / "requirements.txt").open("a") as lock:
        lock.write("more==1\n")
    assert installation.setup().returncode == 0
    assert installation.asked() == ["-r requirements.txt"]


@needs_make
def test_an_interrupted_installation_is_made_again(installation: Installation) -> None:
    (installation.folder / "fail").touch()
    assert installation.setup().returncode != 0
    assert not (installation.checkout / ".venv" / "ready").exists()
    (installation.folder / "fail").unlink()
    installation.asked()
    assert installation.setup().returncode == 0
    assert installation.asked() == ["venv", "-r requirements.txt"]


@needs_make
@pytest.mark.parametrize("end", ["Ctrl-C", "failure"])
def test_an_environment_that_cannot_be_made_says_why_and_ctrl_c_is_short(installation: Installation, end: str) -> None:
    script = installation.python.read_text()
    ending = f"venv) echo a long traceback >&2; {'kill -INT $PPID; ' * (end == 'Ctrl-C')}exit 1 ;;"
    installation.python.write_text(script.replace("venv) mkdir", ending + "\nvenv) mkdir"))
    stopped = installation.setup()
    assert stopped.returncode != 0
    assert ("a long traceback" in stopped.stderr) == (end == "failure")
    assert ("stopped; start the same command again" in stopped.stderr) == (end == "Ctrl-C")
    installation.python.write_text(script)
    assert installation.setup().returncode == 0


@needs_make
def test_a_broken_environment_is_made_again(installation: Installation) -> None:
    installation.setup()
    (installation.checkout / ".venv" / "bin" / "python").unlink()
    installation.asked()
    assert installation.setup().returncode == 0
    assert installation.asked() == ["venv", "-r requirements.txt"]


@needs_make
def test_the_index_of_torch_is_used_and_remembered(installation: Installation) -> None:
    index = "https://wheels.example/cpu"
    torch = f"--force-reinstall --no-deps --index-url {index} torch==2.13.0"
    assert installation.setup(f"TORCH_INDEX={index}").returncode == 0
    assert installation.asked() == ["venv", torch, "-r requirements.txt"]
    assert installation.setup().returncode == 0
    assert installation.asked() == []
    assert installation.setup(f"TORCH_INDEX={index}/other").returncode == 0
    assert installation.asked() == [torch.replace(index, f"{index}/other"), "-r requirements.txt"]


@needs_make
@pytest.mark.parametrize("python", ["3.10.9", "3.14.0"])
def test_another_python_is_refused(tmp_path: Path, python: str) -> None:
    refused = Installation(tmp_path, python).setup()
    assert refused.returncode != 0
    assert f"Python 3.11, 3.12 or 3.13 is needed, {tmp_path}/python is Python {python}" in refused.stderr
    assert not (tmp_path / "the checkout" / ".venv").exists()


@needs_make
def test_a_folder_that_is_no_environment_is_left_alone(installation: Installation) -> None:
    (installation.checkout / "mine").mkdir()
    (installation.checkout / "mine" / "thesis.txt").write_text("years of work")
    refused = installation.setup("VENV=mine")
    assert refused.returncode != 0 and "not a virtual environment" in refused.stderr
    assert (installation.checkout / "mine" / "thesis.txt").exists()


@needs_make
def test_an_interpreter_given_as_py_must_have_what_is_needed(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    refused = make("setup", f"PY={bare}/bin/python")
    assert refused.returncode != 0 and "Traceback" not in refused.stderr
    assert f"error: {bare}/bin/python lacks " in refused.stderr and "torch" in refused.stderr
    assert "-m pip install -r requirements.txt" in refused.stderr
    absent = make("setup", f"PY={tmp_path}/nowhere")
    assert absent.returncode != 0 and f"error: PY={tmp_path}/nowhere does not run" in absent.stderr
    assert make("setup", f"PY={sys.executable}").returncode == 0


@needs_make
def test_without_a_gpu_the_cpu_build_is_named(installation: Installation) -> None:
    """The pretended pip reports a torch that needs nvidia packages."""
    script = installation.python.read_text()
    report = """pip) case "$*" in *--dry-run*) echo '"nvidia-nccl-cu13==2"' ;; esac; [ "$3" = """
    installation.python.write_text(script.replace('pip) [ "$3" = ', report))
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    assert "make setup TORCH_INDEX=URL" in installation.setup().stdout
    assert "TORCH_INDEX" not in installation.setup("TORCH_INDEX=https://wheels.example/cpu", "VENV=.other").stdout
