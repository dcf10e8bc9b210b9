"""The Makefile: what it says, what it passes on, and how it installs, tried with an interpreter that only pretends."""

import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
MAKEFILE = (ROOT / "Makefile").read_text()


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run make with none of the settings of a make around this test."""
    variables = set(re.findall(r"^(\w+) *\?=", MAKEFILE, re.M)) | {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS"}
    clean = {name: value for name, value in os.environ.items() if name not in variables}
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120, "preexec_fn": heed}
    return subprocess.run(["make", *arguments], cwd=folder, env=clean, **options)


@needs_make
def test_help_is_the_default_and_names_every_target_and_variable() -> None:
    shown = make("help").stdout
    assert make().stdout == shown
    targets = re.search(r"^COMMANDS :=(.*)$", MAKEFILE, re.M)
    assert targets is not None
    for target in targets[1].split():
        assert f"make {target} " in shown
    for variable in re.findall(r"^(\w+) *\?=", MAKEFILE, re.M):
        assert f"{variable}=" in shown or variable == "OMP_NUM_THREADS", variable


@needs_make
def test_sweep_passes_on_what_is_set_and_nothing_else() -> None:
    shown = make("-n", "sweep", "PY=python").stdout.splitlines()[-1]
    assert shown.split()[1:] == [
        "-m",
        "sweeps.study",
        "--study",
        '"modules"',
        "--runs",
        '"runs"',
        "--figures",
        '"figures"',
    ]
    given = ["STUDY=steps", "DATA=my data", "SRC=a", "TGT=b", "PRESET=small", "SEEDS=5", "WORKERS=2", "STORAGE=s"]
    shown = make("-n", "sweep", "PY=python", "ARGS=--dry-run", *given).stdout.rstrip()
    for option in ('--study "steps"', '--data "my data"', '--src "a"', '--tgt "b"', '--preset "small"', '--seeds "5"'):
        assert option in shown
    assert shown.endswith('--workers "2" --dry-run')


@needs_make
@pytest.mark.parametrize("target", ["sweep", "search", "worker"])
def test_the_storage_goes_by_the_environment_where_others_cannot_read_it(target: str, tmp_path: Path) -> None:
    asked = tmp_path / "python"
    asked.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "storage: $SWEEP_STORAGE arguments: $*"\n')
    asked.chmod(0o755)
    shown = make(target, f"PY={asked}", "STORAGE=postgresql://me:secret@host/db", "DATA=my text").stdout
    line = shown.splitlines()[-1]
    assert "storage: postgresql://me:secret@host/db" in line and "secret" not in line.split("arguments:")[1]
    assert "secret" not in "".join(shown.splitlines()[:-1]) and "--data my text" in line


@needs_make
def test_distill_passes_on_what_is_set_and_nothing_else() -> None:
    shown = make("-n", "distill", "PY=python").stdout.splitlines()[-1]
    assert shown.split()[1:] == ["-m", "ablations.distill"]
    given = ["DATA=my data", "SRC=a", "TGT=b", "PRESET=small", "OUT=my new data", "ARGS=--beam 4"]
    shown = make("-n", "distill", "PY=python", *given).stdout.rstrip()
    assert shown.endswith('--data "my data" --src "a" --tgt "b" --preset "small" --out "my new data" --beam 4')


@needs_make
@pytest.mark.parametrize("target", ["sweep", "distill", "search", "worker", "figures", "test", "lint", "bench"])
def test_every_command_runs_without_any_setting(target: str, tmp_path: Path) -> None:
    willing = tmp_path / "python"
    willing.write_text("#!/bin/sh\nexit 0\n")
    willing.chmod(0o755)
    done = make(target, f"PY={willing}")
    assert done.returncode == 0, done.stderr


@needs_make
@pytest.mark.parametrize("target", ["sweep", "distill", "figures", "test", "lint", "bench"])
def test_a_failing_command_fails_make(target: str, tmp_path: Path) -> None:
    failing = tmp_path / "python"
    failing.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nexit 7\n')
    failing.chmod(0o755)
    assert make(target, f"PY={failing}").returncode != 0


@needs_make
@pytest.mark.parametrize(("target", "more"), [("figures", ""), ("report", " --draw report")])
def test_figures_and_report_come_from_run_folders_or_from_wandb(target: str, more: str) -> None:
    def asked(*given: str) -> str:
        return " ".join(make("-n", target, "PY=python", *given).stdout.splitlines()[-1].split())

    assert asked("STUDY=my study") == f'"python" -m analysis.{target} "runs/my study" --out "{target}"'
    fetched = f'"python" -m sweeps.fetch "my runs/x.wandb" --to "runs/.fetched"{more} --out "{target}"'
    assert asked("FROM=my runs/x.wandb") == fetched
    assert f'"wandb:a/b" --study "steps" --to "elsewhere/.fetched"{more} --out' in asked(
        "FROM=wandb:a/b", "STUDY=steps", "RUNS=elsewhere"
    )


@needs_make
@pytest.mark.parametrize(
    ("given", "way"),
    [
        ("SEED=3", "Did you mean SEEDS=?"),
        ("seeds=3", "Did you mean SEEDS=?"),
        ("STUDIES=a b", "Did you mean STUDY=?"),
        ("UPDATES=3", 'ARGS="--set updates=VALUE"'),
        ("HTTPS_PROXI='x'", "HTTPS_PROXI=VALUE make"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_the_nearest(given: str, way: str) -> None:
    done = make("-n", "sweep", "PY=python", given)
    assert done.returncode != 0 and done.stdout == ""
    assert f"{given.partition('=')[0]}= is not a variable of this Makefile" in done.stderr and way in done.stderr
    assert ("Did you mean" in done.stderr) == ("Did you mean" in way)


PROGRAMS = ["sweep", "distill", "search", "worker", "wandb-sweep", "figures", "report", "dashboard", "test", "bench"]
INSTALLATION = {"PYTHON", "VENV", "PY", "TORCH_INDEX", "PIP_ARGS"}


@needs_make
@pytest.mark.parametrize("target", PROGRAMS)
def test_a_setting_that_a_command_does_not_read_is_refused(target: str, tmp_path: Path) -> None:
    """What a command reads is what changes its command line or its environment when it is given."""
    teller = tmp_path / "python"
    teller.write_text('#!/bin/sh\necho "$@" "storage $SWEEP_STORAGE"\n')
    teller.chmod(0o755)
    for name in set(re.findall(r"^(\w+) *\?=", MAKEFILE, re.M)) - INSTALLATION - {"OMP_NUM_THREADS"}:
        done = make(target, f"PY={teller}", f"{name}=marked")
        if done.returncode == 0:
            assert "marked" in done.stdout, name
        else:
            assert f"`make {target}` does not read {name}=" in done.stderr


@needs_make
def test_goals_share_their_settings_and_go_in_their_order(tmp_path: Path) -> None:
    assert make("-n", "sweep", "report", "PY=python", "SEEDS=2", "REPORT=r").returncode == 0
    slow = tmp_path / "python"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit 0\n[ "$2" = sweeps.study ] && sleep 1\necho "$2" >> "{tmp_path}/log"\n'
    )
    slow.chmod(0o755)
    assert make("-j4", "sweep", "report", f"PY={slow}").returncode == 0
    assert (tmp_path / "log").read_text().split() == ["sweeps.study", "analysis.report"]


@needs_make
def test_what_programs_read_from_the_environment_may_stand_on_the_line() -> None:
    given = ["WANDB_MODE=offline", "CUDA_VISIBLE_DEVICES=0", "OMP_NUM_THREADS=2", "PY=python"]
    known = make("-n", "sweep", *given)
    assert known.returncode == 0 and known.stderr == ""


def test_clean_spares_what_took_work() -> None:
    recipe = MAKEFILE.split("\nclean:\n")[1]
    assert not re.search(r"\b(runs|results|wandb)\b|\$\(", recipe.replace("$(PY)", ""))


def test_ci_runs_lint_and_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert [line for line in script.read_text().splitlines() if line.startswith("stage ")] == [
        "stage setup",
        "stage lint",
        "stage test",
    ]


# The installation, with an interpreter that only pretends

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
