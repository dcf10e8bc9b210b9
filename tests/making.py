"""make, run as a user would."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
MAKEFILE = (ROOT / "Makefile").read_text()


def surroundings(**variables: str) -> dict[str, Any]:
    """Options of subprocess: these variables in the environment, and no setting of a make around this test."""
    ours = set(re.findall(r"^(\w+) *\?=", MAKEFILE, re.M)) | {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
    return {"env": clean | variables, "preexec_fn": heed}


def pretender(folder: Path, script: str) -> Path:
    """A PY that runs the Makefile's starter as Python does, and of a program (-m) only this script of a shell."""
    path = folder / "python"
    asked = f'case "$1" in .ci/start.py) exec "{sys.executable}" "$@";; -m) ;; *) exit 0;; esac'
    path.write_text(f"#!/bin/sh\n{asked}\n{script}\n")
    path.chmod(0o755)
    return path


def make(*arguments: str, folder: Path = ROOT, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run make as a script would."""
    options = surroundings(**variables)
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, **options)


def make_on_a_terminal(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user would: stdout is all that the terminal got."""
    master, slave = pty.openpty()
    ends: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    written = b""
    with subprocess.Popen(["make", *arguments], cwd=folder, **ends, **surroundings(TERM="xterm", **variables)) as made:
        os.close(slave)
        with suppress(OSError):  # Linux says so when the last writer has closed
            while more := os.read(master, 1024):
                written += more
    os.close(master)
    return subprocess.CompletedProcess(made.args, made.returncode, written.decode())
