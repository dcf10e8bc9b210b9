"""W&B with its real client, offline: what is written can be read, nothing hangs, nothing is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tracked import ROOT, TOGGLES, contents, log_all, plain_surroundings, run_folder, whole

from ablations import records
from ablations.metrics_log import MetricsLog
from core.errors import UserError
from core.run_folder import read
from sweeps import mirror
from sweeps.wb import connection, media, restore, tracking


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain_surroundings(monkeypatch, tmp_path)


def test_an_offline_run_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.tracker(folder)
    began = time.monotonic()
    whole(folder, tracker)
    tracker.finish("failed")
    assert time.monotonic() - began < 5, "nothing waits for a network"
    found = contents(tmp_path / "modules")
    config = found.config
    assert (found.group, found.job_type, found.name) == ("modules", "train", "anchor+nonorm+F4-s1")
    assert sorted(found.tags) == ["anchor_loss=True", "embedding_norm=False", "noise_factor=4.0"]
    assert found.run_id.startswith("0123abcd-")
    assert {name: config[name] for name in TOGGLES} == TOGGLES and config["lr"] == 1e-3
    assert config["record"]["state"] == "finished" and config["record"]["config"]["embedding_norm"] == "none"
    losses = [(row["train/step"], row["train/loss"]) for row in found.rows if "train/loss" in row]
    assert losses == [(step, 1.0 / step) for step in (1, 2, 3, 4)]
    assert [row["val/bleu"] for row in found.rows if "val/bleu" in row] == [2.0, 4.0]
    assert not any("train/mse" in row for row in found.rows), "not a number is left out, not written as text"
    assert found.metrics["train/*"] == found.metrics["val/*"] == "train/step"
    assert [(r["per_step/t"], r.get("per_step/mse")) for r in found.rows if "per_step/t" in r] == [
        (0, 0.1),
        (5, None),
        (9, 0.3),
    ]
    histogram = next(row["norms/rare"] for row in found.rows if "norms/rare" in row)
    assert sum(histogram["values"]) == 30
    assert found.summary["test/bleu"] == 12.5 and found.summary["cost/wall_s"] == 2.5
    table = next(row["samples"] for row in found.rows if "samples" in row)
    text = next((tmp_path / "modules").glob(f"wandb/offline-run-*/files/{table['path']}")).read_text()
    assert json.loads(text)["data"] == [[0, "ein Haus", "a house", "a <b>", 50.0]]
    assert found.exit_code == 0
    assert capsys.readouterr().err == ""


def test_everything_stays_in_the_studys_folder(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.tracker(folder)
    tracker.results(folder)
    tracker.finish("finished")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["modules"]
    assert sorted(path.name for path in (tmp_path / "modules").iterdir()) == [folder.name, "study.json", "wandb"]
    assert os.environ["WANDB_DATA_DIR"].startswith(str(tmp_path))


def test_a_signal_between_the_file_and_wandb_loses_no_row(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.tracker(folder)

    def show(row: Mapping[str, Any]) -> None:
        if row["train/step"] == 2:
            raise SystemExit(143)
        tracker.log(row)

    with pytest.raises(SystemExit), MetricsLog(folder / "metrics.jsonl", None, show) as log:
        for step in (1, 2):
            log.log({"train/step": step})
    tracker.finish("pending")
    rows = [row["train/step"] for row in contents(tmp_path / "modules").rows if "train/step" in row]
    assert rows == [1, 2]


def test_after_an_interruption_one_run_has_all_rows_once(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "modules")
    first = tracking.tracker(folder)
    log_all(folder, first, last=3)
    first.finish("pending")
    assert contents(tmp_path / "modules").exit_code == 1
    second = tracking.tracker(folder)
    log_all(folder, second, resume=2)
    second.finish("finished")
    found = contents(tmp_path / "modules")
    assert [row["train/step"] for row in found.rows if "train/loss" in row] == [1, 2, 3, 4]
    assert found.exit_code == 0


def test_sigterm_loses_no_row_and_the_run_is_failed(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "modules")
    code = """
import sys, time
from pathlib import Path
from ablations import records
from ablations.metrics_log import MetricsLog
from core.signals import end_on_sigterm
from sweeps.running import plan, pool
from sweeps.running.attempt import attempt
folder = Path(sys.argv[1])
def execute(config, folder, tracker):
    with MetricsLog(folder / "metrics.jsonl", None, tracker.log) as log:
        for step in range(1, 6):
            log.log({"train/step": step, "train/loss": 0.5})
        print("logged", file=sys.__stdout__, flush=True)
        open(folder / "logged", "w").close()
        time.sleep(60)
end_on_sigterm(pool.GRACE_SECONDS)
records.claim(folder)
job = plan.Job("modules", "a", "A", 1, "0123abcd", {}, {}, {})
attempt(job, folder, execute)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (folder / "logged").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143 and time.monotonic() - began < 10
    found = contents(tmp_path / "modules")
    assert [row["train/step"] for row in restore.metrics(found.rows)] == [1, 2, 3, 4, 5]
    assert found.exit_code == 1
    assert (records.read(folder)["state"], records.read(folder)["attempts"]) == ("pending", 0)


class Broken:
    """A W&B client of which every part fails, or only the run's log."""

    def __init__(self, start: bool) -> None:
        self.start, self.resumed = start, False
        self.finished: int | None = None

    def init(self, **options: Any) -> "Broken":
        """Start, or fail."""
        if not self.start:
            raise RuntimeError("no\nluck")
        return self

    Settings = type("Settings", (), {"model_fields": {}})

    def define_metric(self, *names: str, **options: Any) -> None:
        """Do nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """Fail."""
        raise OSError("disk full")

    def finish(self, exit_code: int) -> None:
        """Remember how."""
        self.finished = exit_code


@pytest.mark.parametrize(("start", "message"), [(False, "RuntimeError: no luck"), (True, "OSError: disk full")])
def test_a_failure_is_reported_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], start: bool, message: str
) -> None:
    client = Broken(start)
    monkeypatch.setattr(tracking, "client", lambda: client)
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.WandbTracker(folder, "offline")
    log_all(folder, tracker)
    tracker.results(folder)
    tracker.finish("finished")
    err = capsys.readouterr().err
    assert err.count("W&B:") == 1 and message in err and "python -m sweeps.mirror" in err
    assert len(read(folder / "metrics.jsonl")) == 6
    assert client.finished == (0 if start else None)


def test_an_installation_without_wandb_runs_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert isinstance(tracking.tracker(run_folder(tmp_path / "modules")), records.NullTracker)
    assert "goes on without it" in capsys.readouterr().err


# Online or not


def test_online_only_with_a_key_and_a_server_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://127.0.0.1:9"  # the discard port: nobody listens
    monkeypatch.setattr(connection, "server", lambda: url)
    assert connection.mode() == "offline", "no key"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password " + "a" * 40 + "\n")
    (tmp_path / "netrc").chmod(0o600)
    assert connection.has_key(url) and not connection.has_key("https://elsewhere.example")
    monkeypatch.setattr(connection, "reachable", lambda url: True)
    assert connection.mode() == "online"
    monkeypatch.undo()
    monkeypatch.setattr(connection, "server", lambda: url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_MODE", "")
    began = time.monotonic()
    assert connection.mode() == "offline" and time.monotonic() - began < connection.CONNECT_SECONDS + 1
    assert connection.mode() == "offline" and capsys.readouterr().err.count("does not answer") == 1
    monkeypatch.setenv("WANDB_MODE", "online")
    assert connection.mode() == "online", "the user has the last word"


def test_a_proxy_on_the_way_is_asked_unless_the_server_is_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"127.0.0.1:{proxy.getsockname()[1]}"
        assert connection.reachable(f"http://{address}") and not connection.reachable("http://127.0.0.1:9")
        for written in (address, f"http://{address}", f"http://me:secret@{address}/"):
            monkeypatch.setenv("http_proxy", written)
            assert connection.reachable("http://127.0.0.1:9"), written
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
        assert not connection.reachable("http://127.0.0.1:9")


@pytest.mark.parametrize(("said", "meant"), {"run": "online", "dryrun": "offline", "disabled": "disabled"}.items())
def test_wandbs_older_words_are_understood(monkeypatch: pytest.MonkeyPatch, said: str, meant: str) -> None:
    monkeypatch.setenv("WANDB_MODE", said)
    assert connection.mode() == meant


def test_another_mode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match="WANDB_MODE=ofline: no such mode\\. Did you mean 'offline'"):
        tracking.tracker(run_folder(tmp_path / "modules"))


@pytest.mark.parametrize("module", ["study", "search", "worker", "arm", "agent", "wandb_sweep", "dashboard", "mirror"])
def test_another_mode_is_said_by_the_command_before_anything_else(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    given = {"arm": ["--study=modules"], "agent": ["x.yaml"], "dashboard": ["runs/x"], "mirror": ["runs/x"]}
    line = [sys.executable, "-m", f"sweeps.{module}", *given.get(module, [])]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "error: WANDB_MODE=ofline: no such mode" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_turned_off_it_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.tracker(folder)
    log_all(folder, tracker)
    tracker.finish("finished")
    assert isinstance(tracker, records.NullTracker) and not (tmp_path / "modules" / "wandb").exists()


# Rebuilding


def test_the_mirror_is_rebuilt_from_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.tracker(folder)
    whole(folder, tracker)
    before = contents(tmp_path / "modules")
    shutil.rmtree(tmp_path / "modules" / "wandb")
    run_folder(tmp_path / "modules", seed=2)  # pending: not written
    monkeypatch.setattr(sys, "argv", ["mirror", str(tmp_path / "modules")])
    assert mirror.main() == 0 and "1 of 1 runs written (offline)" in capsys.readouterr().out
    after = contents(tmp_path / "modules")
    kept = []
    for found in (before, after):
        rows = [{k: v for k, v in row.items() if not k.startswith("_")} for row in found.rows if "samples" not in row]
        kept.append(Counter(json.dumps(row, sort_keys=True) for row in rows))
    assert kept[0] == kept[1]
    assert after.config == before.config and after.run_id == before.run_id
    assert after.exit_code == 0


def test_the_mirror_of_no_study_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mirror", str(tmp_path)])
    with pytest.raises(UserError, match="no finished or failed runs"):
        mirror.main()


# Pure parts


def test_run_ids_differ_between_arms_and_studies_with_the_same_options() -> None:
    record = {"hash": "0123abcd", "study": "modules", "arm": "a"}
    ids = {tracking.identity(record | more).id for more in ({}, {"arm": "b"}, {"study": "x"})}
    assert len(ids) == 3 and all(id_.startswith("0123abcd-") for id_ in ids)


def test_norms_by_thirds_of_frequency() -> None:
    probes = {"frequency": np.array([9, 1, 5, 1, 9, 5]), "norm": np.array([3.0, 1.0, 2.0, 1.1, 3.1, 2.1])}
    bands = media.histograms(probes)
    assert [round(bands[f"norms/{name}"].bins[0], 6) for name in media.BANDS] == [1.0, 2.0, 3.0]
    assert media.histograms({}) == {} and media.texts([]) == {}


def test_norms_are_those_of_types_of_targets() -> None:
    probes = {"frequency": np.array([9, 1, 5, 0, 0]), "norm": np.array([3.0, 1.0, 2.0, 77.0, 99.0])}
    found = media.histograms(probes)
    assert sum(found["norms/all"].histogram) == 3 and max(found["norms/all"].bins) < 4
    assert max(found["norms/rare"].bins) < 2


def test_norms_that_differ_by_rounding_alone_have_histograms() -> None:
    norm = np.float32(32) ** 0.5 * (1 + np.float32(1e-7) * np.arange(-3, 4, dtype=np.float32))
    found = media.histograms({"norm": norm.astype(np.float32)})
    assert sum(found["norms/all"].histogram) == 7
