"""What goes wrong on machines: full disks. Real processes, a real disk that is too small."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_sweep import ROOT, UPDATES, completed, everything, run, start, states, sweep_of, tidy, until

from ablations import records
from core import run_folder

SMALL, LARGE = "256k", "64m"


class Disk:
    """A small disk: `fill` leaves nothing free, `grow` makes room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Write until nothing more fits."""
        with open(self.folder / "ballast", "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def grow(self) -> None:
        """Make room."""
        subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of its own in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(line, capture_output=True).returncode:
        pytest.skip("only root on Linux may mount the small disk that this test fills; run the tests as root")
    try:
        with tidy():
            yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_stops_a_sweep_with_one_message_and_with_room_it_goes_on(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sweep = sweep_of(disk.folder / "runs", all="slow")
    parent = start(sweep)
    until(lambda: states(sweep).count("running") == 2)
    disk.fill()
    _, err = parent.communicate(timeout=90)
    assert parent.returncode == 2 and "Traceback" not in err
    (message,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "the disk is full; make room and start the same command again" in message and str(disk.folder) in message
    disk.grow()
    views, _ = run(sweep_of(disk.folder / "runs", all="quick"))
    assert [view.state for view in views] == ["finished"] * 4
    assert completed(sweep) == everything(sweep)
    for job in sweep.jobs:
        rows = run_folder.read(job.folder(sweep.runs) / "metrics.jsonl")
        assert [row["train/step"] for row in rows] == list(range(1, UPDATES + 1))


@pytest.mark.slow
def test_a_full_disk_stops_a_run_with_one_message_and_with_room_it_goes_on(disk: Disk) -> None:
    line = [sys.executable, "-m", "ablations.run", "--preset", "smoke", "--device", "cpu", "--checkpoint_seconds", "0"]
    line += ["--runs", str(disk.folder / "runs")]
    env = os.environ | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
    stopped = subprocess.run(line, capture_output=True, text=True, env=env, timeout=240)
    assert stopped.returncode == 2 and "Traceback" not in stopped.stderr, stopped.stderr
    (message,) = [line for line in stopped.stderr.splitlines() if line.startswith("error:")]
    assert str(disk.folder) in message and ("free some space" in message or "make room" in message)
    disk.grow()
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr
    (folder,) = (disk.folder / "runs").glob("single/*-s*")
    assert records.read(folder)["state"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "in the middle"])
def test_a_full_disk_of_wandb_stops_no_run(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WANDB_DIR", str(disk.folder))
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.delenv(name)
    if when == "before":
        disk.fill()
    sweep = sweep_of(tmp_path / "runs", ("a",), 1, workers=1, all="brisk")
    parent = start(sweep)
    if when == "in the middle":
        until(lambda: "running" in states(sweep) and any(disk.folder.glob("wandb/offline-run-*/run-*.wandb")), 60)
        disk.fill()
    out, err = parent.communicate(timeout=200)
    assert parent.returncode == 0, out + err
    assert states(sweep) == ["finished"]
    log = (sweep.jobs[0].folder(sweep.runs) / "log.txt").read_text()
    assert "W&B: " in log, "said once"
