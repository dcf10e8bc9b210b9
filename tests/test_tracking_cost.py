"""The benchmark of records and tracking: what it tells again is what a run told, and its arithmetic."""

import json
import sys
from pathlib import Path

import pytest
import torch
from tracked import log_all, run_folder

from ablations import records
from core.run_folder import read
from sweeps import tracking_cost
from sweeps.wb import cost as costs
from sweeps.wb import restore, wandb_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run."""
    folder = run_folder(tmp_path / "modules")
    log_all(folder, records.NullTracker())
    cost = {"cpu_s": 40.0, "wall_s": 100.0, "train_tokens_per_s": None}
    records.update(folder, cost=cost, training_hash="0", state="finished")
    return folder


def test_a_run_is_told_again_whole(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tmp_path / "again" / "modules"
    rows = read(folder / "metrics.jsonl")
    costs.replay(folder, study, records.read(folder), rows, torch.device("cpu"), wandb=True)
    sys.modules["wandb"].teardown()
    (path,) = study.glob("wandb/offline-run-*/*.wandb")
    log = wandb_file.read(path)
    assert restore.metrics(log.rows) == restore.metrics(rows) and log.exit_code == 0
    assert log.summary["test/bleu"] == 12.5 and {a.type for a in log.artifacts} >= {"dataset", "model", "outputs"}
    assert records.read(study / folder.name)["state"] == "finished" and not records.busy(study / folder.name)


def test_costs_and_shares(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"nothing": (1.0, 0.0, 2.0), "records": (1.4, 0.0, 4.0), "records and W&B": (2.6, 0.4, 6.0)}
    monkeypatch.setattr(tracking_cost, "measure", lambda folder, kind, runs: costs.Cost(*made[kind]))
    monkeypatch.setattr(sys, "argv", ["tracking_cost", "--folder", str(folder), "--runs", "2", "--json"])
    assert tracking_cost.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["costs"]["records"] == pytest.approx({"cpu": 0.2, "service": 0.0, "wall": 1.0})
    assert found["shares"]["records and W&B"] == pytest.approx({"cpu": 2.5, "wall": 2.0})  # (0.8 + 0.2) of 40; 2 of 100
    monkeypatch.setattr(sys, "argv", ["tracking_cost", "--folder", str(folder), "--runs", "2"])
    assert tracking_cost.main() == 0 and "800 ms CPU + 200 ms in W&B's service: 2.50 %" in capsys.readouterr().out


def test_it_measures_in_a_process_of_its_own(folder: Path) -> None:
    cost = costs.measure(folder, "records", 1)
    assert cost.cpu > 0 and cost.wall > 0


def test_no_runs_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["tracking_cost", "--runs", "0"])
    with pytest.raises(SystemExit):
        tracking_cost.main()
    assert "at least 1" in capsys.readouterr().err
