"""The installation that the Makefile makes, tried with an interpreter that only pretends."""

import os
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
from making import ROOT, make, make_on_a_terminal, needs_make

PRETENDER = """#!/bin/sh
# Stands for python: notes what it is asked in LOG, "installs" by what the script PIP does, fails while FAIL exists.
case "$1" in
  --version) echo "Python {version}" ;;
  -c) exec "{real}" "-c" "import sys; sys.version_info = ({numbers}, 0, 'final', 0)
import importlib.metadata
importlib.metadata.version = lambda name: '2.13.0'
exec(sys.argv[1])" "$2" ;;
  *) echo "$@" >> "{folder}/log"
     case "$2" in
       venv) mkdir -p "$3/bin" && touch "$3/pyvenv.cfg" && cp "$0" "$3/bin/python" ;;
       pip) case "$*" in
              *--version*) ;;
              *--dry-run*) echo "{report}" ;;
              *) sh "{folder}/pip" "${{0%/bin/*}}"; [ ! -e "{folder}/fail" ] ;;
            esac ;;
     esac ;;
esac
"""


class Installation:
    """A checkout with a space in its path, its pretended Python, and what that was asked."""

    def __init__(self, folder: Path, python: str = "3.12.1", torch_needs: str = "filelock") -> None:
        self.folder, self.checkout = folder, folder / "the checkout"
        self.checkout.mkdir()
        (self.checkout / ".ci").mkdir()
        for name in ("Makefile", "requirements.txt", ".ci/setup.sh"):
            shutil.copy(ROOT / name, self.checkout / name)
        self.python = folder / "python"
        numbers, report = python.replace(".", ", "), f'\\"{torch_needs}==2\\"'
        self.python.write_text(
            PRETENDER.format(version=python, numbers=numbers, real=sys.executable, folder=folder, report=report)
        )
        self.python.chmod(0o755)
        self.pip("")

    def pip(self, script: str) -> None:
        """What pip does when it is asked to install, in shell; $1 is the environment."""
        (self.folder / "pip").write_text(script)

    def setup(self, *arguments: str, on_a_terminal: bool = False) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        run = make_on_a_terminal if on_a_terminal else make
        return run("setup", f"PYTHON={self.python}", *arguments, folder=self.checkout, PATH=path)

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


PIP = """
look() { ticks=$(wc -l < ticks); until [ $(wc -l < ticks) -gt $((ticks + 1)) ]; do sleep 0.1; done; }
look
cat <<END
Collecting absl-py==2.5.1 (from -r requirements.txt (line 1))
  Downloading absl_py-2.5.1-py3-none-any.whl.metadata (3 kB)
Requirement already satisfied: six==1.17.0 in ./lib (from -r requirements.txt (line 2))
Collecting packaging>=24 (from six->-r requirements.txt (line 2))
Processing ./wheels/torch-2.13.0-cp312-cp312-linux_x86_64.whl (from -r requirements.txt (line 3))
END
look
cat <<END
Collecting zzz==1 (from -r requirements.txt (line 4))
  Downloading https://wheels.example/absl_py-2.5.1-py3-none-any.whl (135 kB)
END
look
mkdir -p "$1/lib/python3.12/site-packages/zzz-1.dist-info"
echo "Installing collected packages: zzz, torch, absl-py"
look
"""
SHOWN = ["finding 0/4 ", "finding 3/4 torch", "fetching 2/4 absl_py (135 kB)", "installing 1/3 torch"]


@pytest.fixture
def talkative(installation: Installation) -> Installation:
    """An installation of four packages whose pip says what it does, and waits until that has been looked at."""
    (installation.checkout / "requirements.txt").write_text("absl-py==2.5.1\nsix==1\ntorch==2.13.0\nzzz==1\n")
    installation.pip(PIP)
    (installation.checkout / "ticks").touch()
    sleep = installation.folder / "bin" / "sleep"
    sleep.parent.mkdir()
    sleep.write_text(f'#!/bin/sh\n[ "$1" != 1 ] || echo >> ticks\nexec {shutil.which("sleep")} 0.1\n')
    sleep.chmod(0o755)
    return installation


def states(shown: str, separator: str) -> list[str]:
    """What the counter showed, without repetitions."""
    counted = [line.partition("packages: ")[2] for line in shown.split(separator) if "packages: " in line]
    return [state for state, _ in groupby(counted)]


@needs_make
def test_a_log_of_lines_names_each_of_pips_acts_once_and_the_rest_is_kept(talkative: Installation) -> None:
    done = talkative.setup()
    assert done.returncode == 0 and done.stderr == "" and "Collecting" not in done.stdout
    assert [state.split()[0] for state in states(done.stdout, "\n")] == ["finding", "fetching", "installing"]
    log = (talkative.checkout / ".venv" / "pip.log").read_text()
    assert "Collecting absl-py" in log and "Installing collected packages" in log


@needs_make
def test_a_terminal_shows_one_line_that_changes(talkative: Installation) -> None:
    screen = talkative.setup(on_a_terminal=True).stdout
    making, counted = screen.replace("\r\n", "\n").strip().split("\n")
    assert making.startswith("Making .venv") and counted.endswith("\r\033[KPython 3.12 with torch 2.13.0 is ready")
    found = states(counted, "\r\033[K")
    rest = iter(found)  # a look may fall between what pip says, so others may come in between
    assert all(state in rest for state in SHOWN) and len(found) <= len(SHOWN) + 2, found


@needs_make
def test_all_that_pip_said_is_shown_if_it_fails(talkative: Installation) -> None:
    talkative.pip(f"echo to stderr >&2\n{PIP}")
    (talkative.folder / "fail").touch()
    failed = talkative.setup()
    assert failed.returncode != 0 and "error: pip failed" in failed.stderr
    for line in ("to stderr", "Collecting absl-py==2.5.1", "  Downloading https://wheels", "Installing collected"):
        assert f"\n{line}" in f"\n{failed.stderr}"


@needs_make
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU")
def test_without_a_gpu_the_cpu_build_is_named(tmp_path: Path) -> None:
    installation = Installation(tmp_path, torch_needs="nvidia-nccl-cu13")
    assert "make setup TORCH_INDEX=URL" in installation.setup().stdout
    assert "TORCH_INDEX" not in installation.setup("TORCH_INDEX=https://wheels.example/cpu", "VENV=.other").stdout


@needs_make
def test_a_build_without_cuda_is_installed_without_a_word_on_it(installation: Installation) -> None:
    assert "TORCH_INDEX" not in installation.setup().stdout
