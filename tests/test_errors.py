"""What a command says when something goes wrong that a user can mend."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UserError, command

ROOT = Path(__file__).resolve().parent.parent


def said(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Status and standard error of a command that raises."""

    def main() -> int:
        raise error

    with pytest.raises(SystemExit) as left:
        command(main)()
    assert isinstance(left.value.code, int)
    return left.value.code, capsys.readouterr().err


def test_a_file_that_the_system_refuses_is_one_message_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "figures/table.md")
    assert said(refused, capsys) == (2, "error: figures/table.md: Permission denied\n")


def test_a_full_disk_is_one_message_where_no_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), capsys)
    assert status == 2 and text == "error: No space left on device; make room and start the same command again\n"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def main() -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with pytest.raises(OSError):
        command(main)()


def test_what_is_wrong_and_ctrl_c_have_their_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(UserError("option x: no"), capsys) == (2, "error: option x: no\n")
    assert said(KeyboardInterrupt(), capsys)[0] == 130


def test_no_password_stands_in_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        said(UserError("no answer of mysql://me:s3cret@host"), capsys)[1] == "error: no answer of mysql://me:***@host\n"
    )


def test_an_output_that_lacks_a_character_gets_another(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sweeps.study", "--dry-run", "--preset", "smoke", "--runs", str(tmp_path)]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "modules-smoke ? 16 runs ? " in done.stdout


@pytest.mark.parametrize("given", [None, ""])
def test_without_a_home_there_is_one(given: str | None, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "HOME"} | (
        {} if given is None else {"HOME": ""}
    )
    code = "import os; from core.errors import command; command(lambda: print(os.path.expanduser('~')))()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_absolute()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may run a process as somebody else")
def test_a_number_without_a_user_has_a_home() -> None:
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    code = (
        "import os; from core import surroundings; os.setuid(54321); surroundings.prepare(); print(os.environ['HOME'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_dir()


def test_importing_a_library_module_leaves_the_process_as_it_is() -> None:
    code = """
import signal, sys
before = sys.excepthook, [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
import core.errors, core.signals, ablations.studies, sweeps.running.work, sweeps.tuning.options, analysis
assert (sys.excepthook, [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]) == before
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("module", "slow"),
    [("core.bench", "torch"), ("ablations.run", "tyro"), ("sweeps.study", "tyro"), ("analysis.figures", "matplotlib")],
)
def test_ctrl_c_while_a_command_is_still_being_imported(module: str, slow: str, tmp_path: Path) -> None:
    (tmp_path / f"{slow}.py").write_text("raise KeyboardInterrupt\n")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    given = [str(tmp_path)] if module.startswith("analysis") else []  # where its own imports wait for the arguments
    done = subprocess.run([sys.executable, "-m", module, *given], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stderr == "stopped; start the same command again to go on\n" and done.returncode != 0
