"""A sweep whose time comes in slices: `--minutes`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_sweep import ROOT

from core import run_folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_in_slices_of_time_ends_as_one_without_a_break(tmp_path: Path) -> None:
    whole = ["--study", "norm", "--preset", "smoke", "--seeds", "1", "--set", "updates=60", "--workers", "1"]
    whole += ["--figures", str(tmp_path / "figures")]
    for minutes in ("0.1", "0.15", "0.2"):
        done = study(*whole, "--runs", str(tmp_path / "slices"), "--minutes", minutes)
        assert done.returncode in (0, 75), done.stderr
        states = {run_folder.read(path)["state"] for path in (tmp_path / "slices").glob("*/*/run.json")}
        assert states <= {"pending", "finished"}
        if done.returncode == 75:
            assert "time is up; start the same command again to go on" in done.stderr
            assert "pending" in states
    for runs in ("slices", "whole"):
        assert study(*whole, "--runs", str(tmp_path / runs)).returncode == 0
    ours, theirs = (
        {p.parent.name: p.read_bytes() for p in (tmp_path / r).glob("*/*/samples.jsonl")} for r in ("slices", "whole")
    )
    assert ours == theirs and len(ours) == 3
    assert study(*whole, "--runs", str(tmp_path / "slices"), "--minutes", "0").returncode == 2


def study(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """make sweep, without make."""
    env = os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "sweeps.study", *arguments]
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
