"""Sweeps with real processes and a stand-in for the arm: killed, restarted, doubled, failing, interrupted."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import optuna
import pytest
from fake_sweep import (
    UPDATES,
    completed,
    everything,
    executions,
    lease_pids,
    living,
    run,
    start,
    states,
    sweep_of,
    until,
)

from ablations import records
from ablations.metrics_log import latest
from core.errors import UserError
from core.run_folder import read
from sweeps.running import conduct, plan, report

pytestmark = pytest.mark.usefixtures("sweeping")


def test_all_runs_once_and_the_same_again_does_nothing(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    views, out = run(sweep)
    assert [v.state for v in views] == ["finished"] * 4
    assert [v.score for v in views] == [11.0, 11.0, 21.0, 21.0]
    assert completed(sweep) == everything(sweep)
    assert out.count("finished") == 4 and "\x1b" not in out
    views, out = run(sweep)
    assert executions(sweep) == [1, 1, 1, 1] and out == ""
    assert completed(sweep) == everything(sweep)
    assert json.loads((tmp_path / "s" / "study.json").read_text())["runs"] == [job.key for job in sweep.jobs]


def test_failing_arm_is_tried_twice_and_the_others_go_on(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, ("a", "bad", "once", "never"), 1, bad="fail", once="fail once", never="refuse")
    views, _ = run(sweep)
    assert [v.state for v in views] == ["finished", "failed", "finished", "failed"]
    assert executions(sweep) == [1, 2, 2, 1], "a refusal is not tried again"
    assert views[1].reason == "RuntimeError: no luck at all" and views[1].attempts == 2
    assert views[3].reason == "your text is unusable"
    assert "about to fail" in (sweep.jobs[1].folder(tmp_path) / "log.txt").read_text()
    assert completed(sweep) == [("a", 1), ("once", 1)]
    views, _ = run(sweep_of(tmp_path, ("a", "bad", "once", "never"), 1))
    assert [v.state for v in views] == ["finished"] * 4, "started again, failed arms get another chance"
    assert completed(sweep) == everything(sweep)


def test_a_worker_killed_in_mid_run_is_replaced(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, ("a", "b", "mortal", "doomed"), 1, mortal="die once", doomed="die")
    views, _ = run(sweep)
    assert [v.state for v in views] == ["finished", "finished", "finished", "failed"]
    assert executions(sweep) == [1, 1, 2, 2]
    assert "died" in (views[3].reason or "")
    assert completed(sweep) == [("a", 1), ("b", 1), ("mortal", 1)]


@pytest.mark.slow
def test_parent_killed_workers_end_and_a_restart_goes_on(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, all="slow")
    parent = start(sweep)
    until(lambda: states(sweep).count("running") == 2)
    pids = lease_pids(sweep)
    until(lambda: all(latest(j.folder(tmp_path) / "metrics.jsonl") for j in sweep.jobs[:2]))
    parent.kill()
    parent.communicate()
    until(lambda: not living(pids), 10)
    assert not any(records.busy(job.folder(tmp_path)) for job in sweep.jobs)
    views, _ = run(sweep_of(tmp_path))
    assert [v.state for v in views] == ["finished"] * 4
    assert completed(sweep) == everything(sweep)
    steps = [r["train/step"] for r in read(sweep.jobs[0].folder(tmp_path) / "metrics.jsonl")]
    assert steps == list(range(1, UPDATES + 1)), "resumed, no step twice"


@pytest.mark.slow
def test_everything_killed_at_once(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, all="slow")
    parent = start(sweep)
    until(lambda: states(sweep).count("running") == 2)
    for pid in [*lease_pids(sweep), parent.pid]:
        os.kill(pid, signal.SIGKILL)
    parent.communicate()
    views, _ = run(sweep_of(tmp_path))
    assert [v.state for v in views] == ["finished"] * 4
    assert completed(sweep) == everything(sweep)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_in_seconds_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    sweep = sweep_of(tmp_path, all="gate")
    parent = start(sweep)
    until(lambda: states(sweep).count("running") == 2)
    pids, began = lease_pids(sweep), time.monotonic()
    parent.send_signal(number)
    _, err = parent.communicate(timeout=15)
    assert parent.returncode == status and time.monotonic() - began < 8
    assert "Traceback" not in err and "0 of 4 runs are done; others go on" in err
    assert not living(pids)
    assert states(sweep) == ["pending"] * 4
    assert records.read(sweep.jobs[0].folder(tmp_path))["attempts"] == 0, "an interruption is no failed attempt"


def test_two_sweeps_at_once_share_the_work(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, ("a", "b", "c"), 2, workers=1, all="brisk")
    both = [start(sweep), start(sweep)]
    for parent in both:
        out, err = parent.communicate(timeout=60)
        assert parent.returncode == 0, out + err
    assert executions(sweep) == [1] * 6
    assert completed(sweep) == everything(sweep)


def test_only_some_arms_leave_the_others_waiting(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, all="slow")
    parent = start(sweep)
    until(lambda: "running" in states(sweep))
    parent.send_signal(signal.SIGTERM)
    parent.communicate()
    part = sweep_of(tmp_path)
    chosen = tuple(plan.select(part.jobs, ["b"]))
    run(conduct.Sweep(**{**part.__dict__, "jobs": chosen, "workers": 1}))
    assert [s == "finished" for s in states(sweep)] == [False, True, False, True]


def test_runs_done_elsewhere_are_entered_and_trials_lost_are_made_again(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    run(sweep)
    (tmp_path / "s" / "optuna.journal").unlink()
    run(sweep)
    assert executions(sweep) == [1] * 4
    assert completed(sweep) == everything(sweep)


@pytest.mark.slow
def test_any_storage_url(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, where=f"sqlite:///{tmp_path}/trials.db")
    run(sweep)
    assert completed(sweep) == everything(sweep)
    assert optuna.load_study(storage=sweep.storage, study_name="s-1").best_value == 21.0


def test_a_torn_journal_is_mended(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, seeds=1)
    run(sweep)
    with open(sweep.storage, "a") as journal:
        journal.write('{"op_code": 4, "worker')
    sweep = sweep_of(tmp_path, seeds=2)
    run(sweep)
    assert completed(sweep) == everything(sweep)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sweep = sweep_of(tmp_path / "runs")
    with pytest.raises(UserError, match=r"--runs .*file"):
        run(conduct.Sweep(**{**sweep.__dict__, "runs": tmp_path / "file"}))


def test_workers_that_cannot_start_end_the_sweep(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    broken = conduct.Sweep(**{**sweep.__dict__, "worker": (sys.executable, "-c", "raise SystemExit('no such thing')")})
    with pytest.raises(UserError, match=r"die before they take a run(.|\n)*no such thing"):
        run(broken)


def test_a_sweep_says_how_many_of_its_runs_wandb_does_not_have(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, seeds=1)
    began = records.now()
    run(sweep)
    assert report.unmirrored(sweep, began) == 0
    with open(sweep.jobs[0].folder(tmp_path) / "log.txt", "a") as log:
        log.write("W&B: OSError: gone; the run goes on\n")
    assert report.unmirrored(sweep, began) == 1
    assert report.unmirrored(sweep, "2999") == 0, "what earlier sweeps said was said by them"
