"""Sweeps over several hosts: hosts are separate folders here, which share a storage and nothing else."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
from fake_sweep import ME, ROOT, UPDATES, completed, everything, start, states, sweep_of, until

from ablations import records
from sweeps import conduct, storage

ARMS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the sweep."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """One PostgreSQL for these tests."""
    with postgres.serving() as running:
        yield running


def join(sweep: conduct.Sweep, runs: Path, *options: str) -> "subprocess.Popen[str]":
    """A worker on another host: it has the URL, and a folder of its own."""
    runs.mkdir(exist_ok=True)
    (runs / "behaviour.json").write_text((sweep.runs / "behaviour.json").read_text())
    line = [*ME, "work", "--runs", str(runs), *options]
    env = os.environ | {storage.ENVIRONMENT: sweep.storage}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def busy(runs: Path) -> list[Path]:
    """The runs that a host is at."""
    return [path.parent for path in runs.glob("s/*/run.json") if records.read(path.parent)["state"] == "running"]


def test_workers_elsewhere_send_their_results_and_a_killed_one_loses_nothing(
    server: postgres.Server, tmp_path: Path
) -> None:
    sweep = sweep_of(tmp_path / "one", ARMS, 3, workers=1, where=server.database(), lease=9.0, all="brisk")
    host = start(sweep)
    until(lambda: "running" in states(sweep))
    two, three = join(sweep, tmp_path / "two"), join(sweep, tmp_path / "three")
    until(lambda: bool(busy(tmp_path / "three")))
    (lost,) = busy(tmp_path / "three")
    three.kill()
    three.communicate()
    out, err = host.communicate(timeout=120)
    said, _ = two.communicate(timeout=60)
    assert host.returncode == 0, out + err
    assert two.returncode == 0 and "finished" in said, said
    assert completed(sweep) == everything(sweep)
    for job in sweep.jobs:
        folder = job.folder(sweep.runs)
        assert records.read(folder)["state"] == "finished"
        rows = [row["train/step"] for row in records.read_rows(folder / "metrics.jsonl")]
        assert rows == list(range(1, UPDATES + 1))
    helped = [path.name for path in (tmp_path / "two" / "s").glob("*-s*")]
    assert helped and all((sweep.runs / "s" / name / "scores.json").exists() for name in helped)
    assert records.read(sweep.runs / "s" / lost.name)["attempts"] >= 1
    everywhere = [*(tmp_path / "one").rglob("executions"), *(tmp_path / "two").rglob("executions")]
    assert sorted(path.parent.name for path in everywhere) == sorted(job.key for job in sweep.jobs), "each run once"
    assert all(path.read_text() == "x" for path in everywhere)
    written = [p for p in tmp_path.rglob("*") if p.is_file() and postgres.PASSWORD.encode() in p.read_bytes()]
    assert not written and postgres.PASSWORD not in out + err + said
