"""make, run as a user would."""

import os
import re
import shutil
import signal
import subprocess
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
