"""A server that vanishes, never answers or comes back, and an end by SIGTERM: no row is lost, and the run ends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standin import Server
from tracked import ROOT, log_all, run_folder, until

from ablations import records
from core.run_folder import read
from sweeps.wb import connection, private, restore, tracking, wandb_file
from sweeps.wb.tracking import WandbTracker

STEPS = [1, 2, 2, 3, 4, 4]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give up after seconds, not a minute."""
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 2.0)
    quick = {"x_graphql_retry_max": 1, "x_graphql_retry_wait_min_seconds": 0.1, "x_graphql_retry_wait_max_seconds": 0.2}
    quick |= {"x_graphql_timeout_seconds": 1.0, "x_file_stream_retry_wait_min_seconds": 0.1}
    monkeypatch.setattr(private, "PATIENCE", private.PATIENCE | quick)
    for name in ("DATA", "CACHE", "ARTIFACT"):  # as a user has it: beside the runs
        monkeypatch.delenv(f"WANDB_{name}_DIR")
    yield


def steps(server: Server, run: str) -> list[int]:
    """The training steps that arrived."""
    history = server.backend.runs[run]["history"] if run in server.backend.runs else []
    return [row["train/step"] for row in history if "train/step" in row]


def begun(tmp_path: Path) -> tuple[Path, WandbTracker, str]:
    """A run online."""
    folder = run_folder(tmp_path / "modules")
    tracker = WandbTracker(folder, "online")
    return folder, tracker, tracker.run.id


def again(server: Server) -> Server:
    """The same server, back at the same place."""
    return Server(int(server.url.rpartition(":")[2]), server.backend)


def logged(study: Path) -> Path:
    """The client's own log, once the client is done; it has all rows."""
    connection.client().teardown()
    (log,) = study.glob("wandb/run-*/*.wandb")
    assert [row["train/step"] for row in restore.metrics(wandb_file.read(log).rows)] == STEPS
    return log


def finish(folder: Path, tracker: WandbTracker) -> None:
    """The end of a run."""
    tracker.results(folder)
    records.finish(folder)
    tracker.finish("finished")


def test_a_server_that_vanishes(wandb_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, tracker, run = begun(tmp_path)
    wandb_server.stop()
    log_all(folder, tracker)
    finish(folder, tracker)
    assert records.read(folder)["state"] == "finished" and len(read(folder / "metrics.jsonl")) == 6
    assert capsys.readouterr().err.count("is gone; tables and artifacts are left out") == 1
    assert steps(wandb_server, run) == []
    log = logged(tmp_path / "modules")
    back = again(wandb_server)
    line = [sys.executable, "-m", "wandb", "sync", "--include-online", str(log.parent)]
    done = subprocess.run(line, env=os.environ | back.environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert steps(back, run) == STEPS and back.backend.runs[run]["exitcode"] == 0, done.stdout + done.stderr
    shutil.rmtree(tmp_path / "modules" / "wandb")
    back.backend.runs.clear()
    assert tracking.mirror(folder, "online"), "the folder alone is enough"
    connection.client().teardown()
    assert steps(back, run) == STEPS and back.backend.runs[run]["exitcode"] == 0
    kinds = sorted(a["type"] for a in back.backend.artifacts.values() if a["type"] != "run_table")
    assert kinds == ["dataset", "model", "outputs"] and back.backend.unknown == []
    back.stop()


def test_a_server_that_comes_back(wandb_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 60.0)
    folder, tracker, run = begun(tmp_path)
    log_all(folder, tracker, last=2)
    until(lambda: steps(wandb_server, run), what="the first rows")
    wandb_server.stop()
    log_all(folder, tracker, last=4, resume=2)
    back = again(wandb_server)
    finish(folder, tracker)
    assert sorted(set(steps(back, run))) == [1, 2, 3, 4] and back.backend.runs[run]["exitcode"] == 0
    assert back.backend.unknown == []
    back.stop()


def test_an_interrupted_run_goes_on_where_the_server_has_it(wandb_server: Server, tmp_path: Path) -> None:
    folder, tracker, run = begun(tmp_path)
    log_all(folder, tracker, last=3)
    tracker.finish("pending")
    assert steps(wandb_server, run) == [1, 2, 2, 3] and wandb_server.backend.runs[run]["exitcode"] == 1
    again = WandbTracker(folder, "online")
    log_all(folder, again, resume=2)
    finish(folder, again)
    connection.client().teardown()
    assert list(wandb_server.backend.runs) == [run]
    assert steps(wandb_server, run) == [1, 2, 2, 3, 3, 4, 4], "only the last one may be there twice"
    found = wandb_server.backend.runs[run]
    assert [row["_step"] for row in found["history"]] == list(range(len(found["history"])))
    assert found["exitcode"] == 0 and wandb_server.backend.unknown == []


def test_a_server_that_never_answers(wandb_server: Server, tmp_path: Path) -> None:
    folder, tracker, _ = begun(tmp_path)
    wandb_server.backend.answering.clear()
    log_all(folder, tracker)
    records.finish(folder)
    tracker.finish("finished")  # returns: that is the test
    assert records.read(folder)["state"] == "finished" and len(read(folder / "metrics.jsonl")) == 6
    wandb_server.backend.answering.set()
    logged(tmp_path / "modules")


SLEEPER = """
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
        open(folder / "logged", "w").close()
        time.sleep(300)
end_on_sigterm(pool.GRACE_SECONDS)
records.claim(folder)
attempt(plan.Job("modules", "a", "A", 1, "0123abcd", {}, {}, {}), folder, execute)
"""


def test_sigterm_online_loses_no_row_and_the_run_is_failed(wandb_server: Server, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "modules")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", SLEEPER, str(folder)], env=environment, cwd=ROOT)
    until((folder / "logged").exists, what="the first rows")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    ((name, run),) = wandb_server.backend.runs.items()
    assert steps(wandb_server, name) == [1, 2, 3, 4, 5] and run["exitcode"] == 1, "W&B shows it as failed"
    record: dict[str, Any] = records.read(folder)
    assert (record["state"], record["attempts"]) == ("pending", 0) and wandb_server.backend.unknown == []
