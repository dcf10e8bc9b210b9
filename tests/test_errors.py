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


@pytest.mark.parametrize(
    ("module", "slow"),
    [("core.bench", "torch"), ("ablations.run", "tyro"), ("sweeps.study", "tyro"), ("analysis.figures", "matplotlib")],
)
def test_ctrl_c_while_a_command_is_still_being_imported(module: str, slow: str, tmp_path: Path) -> None:
    (tmp_path / f"{slow}.py").write_text("raise KeyboardInterrupt\n")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-m", module], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stderr == "stopped; start the same command again to go on\n" and done.returncode != 0
