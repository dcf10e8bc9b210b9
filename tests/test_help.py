"""--help of every command: it works, and does not first import what takes seconds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "pandas", "matplotlib", "scipy.stats", "wandb", "wandb_workspaces", "optuna_dashboard", "sklearn"}
INNER = {"analysis.snapshot"}
"""Programs that only others of ours start."""
CODE = """
import runpy, sys
module, *heavy = sys.argv[1:]
sys.argv = [module, "--help"]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as end:
    print("imported:", *sorted(set(heavy) & set(sys.modules)))
    sys.exit(end.code)
"""


def commands() -> list[str]:
    """The modules that are programs."""
    files = [path for package in ("core", "ablations", "sweeps", "analysis") for path in (ROOT / package).rglob("*.py")]
    programs = [path for path in files if '\nif __name__ == "__main__":' in path.read_text("utf-8")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in programs]
    return sorted({name.removesuffix(".__main__") for name in names} - INNER)


@pytest.mark.parametrize("module", commands())
def test_help_is_there_at_once(module: str) -> None:
    line = [sys.executable, "-c", CODE, module, *sorted(HEAVY)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *shown, imported = done.stdout.splitlines()
    assert imported == "imported:" and re.search(rf"python -m {module}\b", "\n".join(shown))
