"""Sweeps with real processes and a stand-in for the arm: killed, restarted, doubled, failing, interrupted.

Run as a script this file is the worker (`work`) or a whole sweep (`conduct`), so that tests can kill either.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from ablations import records
from ablations.studies import Arm
from core.config import RunConfig, digest, flat, with_values
from core.errors import UserError, command
from sweeps import conduct, display, plan, pool, progress, storage, study, trials, worker

ROOT = Path(__file__).parents[1]
ME = (sys.executable, str(Path(__file__)))
UPDATES = 8


# The stand-in for an arm


def fake(config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Log UPDATES rows and finish, or do what behaviour.json says of the arm."""
    behaviour = json.loads((folder.parents[1] / "behaviour.json").read_text())
    record = records.read(folder)
    what = behaviour.get(record["arm"], behaviour.get("*", "quick"))
    with open(folder / "executions", "a") as file:
        file.write("x")
    print("about to", what, flush=True)
    if what == "fail" or (what == "fail once" and record["attempts"] == 1):
        raise RuntimeError("no luck\nat all")
    if what == "refuse":
        raise UserError("your text is unusable")
    if what == "die" or (what == "die once" and record["attempts"] == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    done = records.latest(folder / "metrics.jsonl").get("train/step")
    with records.MetricsLog(folder / "metrics.jsonl", done, tracker.log) as log:
        for step in range((done or 0) + 1, UPDATES + 1):
            time.sleep({"slow": 0.4, "brisk": 0.1}.get(what, 0.0))
            log.log({"train/step": step, "train/loss": 1 / step})
    records.write_json(folder / "scores.json", {"bleu": 10.0 * config.seed + len(record["arm"])})
    records.finish(folder)


# A sweep of stand-ins


def jobs_for(arms: Sequence[str], seeds: int) -> tuple[plan.Job, ...]:
    """Jobs of a made-up study."""
    made = []
    for seed in range(1, seeds + 1):
        for arm in arms:
            config = flat(with_values(RunConfig(), {"seed": seed, "updates": UPDATES}))
            made.append(plan.Job("s", arm, arm.upper(), seed, digest(config | {"arm": arm}), config, {"arm": arm}, {}))
    return tuple(made)


def sweep_of(
    runs: Path, arms: Sequence[str] = ("a", "b"), seeds: int = 2, workers: int = 2, where: str = "", **behaviour: str
) -> conduct.Sweep:
    """A sweep whose workers run `fake`; behaviour: arm (or all) -> what it does."""
    runs.mkdir(parents=True, exist_ok=True)
    said = {"*" if arm == "all" else arm: what for arm, what in behaviour.items()}
    (runs / "behaviour.json").write_text(json.dumps(said))
    jobs = jobs_for(arms, seeds)
    facts = {"study": "s", "runs": [job.key for job in jobs]}
    where = where or str(runs / "s" / "optuna.journal")
    me = (*ME, "work")
    return conduct.Sweep(jobs, tuple(arms), runs, where, "s-1", "bleu", workers, (), facts, me, poll_seconds=0.1)


def run(sweep: conduct.Sweep) -> tuple[list[progress.View], str]:
    """Conduct a sweep here, with plain lines."""
    out = io.StringIO()
    return conduct.conduct(sweep, display.Lines(sweep.workers, sweep.metric, out)), out.getvalue()


def start(sweep: conduct.Sweep, **options: Any) -> subprocess.Popen[str]:
    """Conduct a sweep in a process of its own, one that can be killed."""
    arms = ",".join(sweep.arms)
    seeds = str(max(job.seed for job in sweep.jobs))
    line = [*ME, "conduct", str(sweep.runs), arms, seeds, str(sweep.workers)]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed, **options)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def states(sweep: conduct.Sweep) -> list[str]:
    """The states of all runs on disk."""
    return [progress.view(job, job.folder(sweep.runs), "bleu").state for job in sweep.jobs]


def executions(sweep: conduct.Sweep) -> list[int]:
    """How many times each run was begun."""
    counts = [job.folder(sweep.runs) / "executions" for job in sweep.jobs]
    return [path.stat().st_size if path.exists() else 0 for path in counts]


def completed(sweep: conduct.Sweep) -> list[tuple[str, int]]:
    """(arm, seed) of Optuna's completed trials; none may be left open."""
    queue = trials.Queue.load(storage.open_storage(sweep.storage), sweep.queue)
    assert not queue.trials(TrialState.WAITING, TrialState.RUNNING)
    return sorted((t.params["arm"], t.params["seed"]) for t in queue.trials(TrialState.COMPLETE))


def everything(sweep: conduct.Sweep) -> list[tuple[str, int]]:
    """(arm, seed) of all jobs."""
    return sorted((job.arm, job.seed) for job in sweep.jobs)


def living(pids: Sequence[int]) -> list[int]:
    """Those of the processes that are still there."""
    alive = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                alive.append(pid)
    return alive


def lease_pids(sweep: conduct.Sweep) -> list[int]:
    """The workers that hold a run."""
    records_ = [job.folder(sweep.runs) for job in sweep.jobs if (job.folder(sweep.runs) / "run.json").exists()]
    return [lease["pid"] for folder in records_ if (lease := records.read(folder)["lease"])]


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the sweep."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


# The tests


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


def test_parent_killed_workers_end_and_a_restart_goes_on(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, all="slow")
    parent = start(sweep)
    until(lambda: states(sweep).count("running") == 2)
    pids = lease_pids(sweep)
    until(lambda: all(records.latest(j.folder(tmp_path) / "metrics.jsonl") for j in sweep.jobs[:2]))
    parent.kill()
    parent.communicate()
    until(lambda: not living(pids), 10)
    assert not any(records.busy(job.folder(tmp_path)) for job in sweep.jobs)
    views, _ = run(sweep_of(tmp_path))
    assert [v.state for v in views] == ["finished"] * 4
    assert completed(sweep) == everything(sweep)
    steps = [r["train/step"] for r in records.read_rows(sweep.jobs[0].folder(tmp_path) / "metrics.jsonl")]
    assert steps == list(range(1, UPDATES + 1)), "resumed, no step twice"


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
    sweep = sweep_of(tmp_path, all="slow")
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
    chosen = tuple(plan.chosen(part.jobs, ["b"]))
    run(conduct.Sweep(**{**part.__dict__, "jobs": chosen, "workers": 1}))
    assert [s == "finished" for s in states(sweep)] == [False, True, False, True]


def test_runs_done_elsewhere_are_entered_and_trials_lost_are_made_again(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    run(sweep)
    (tmp_path / "s" / "optuna.journal").unlink()
    run(sweep)
    assert executions(sweep) == [1] * 4
    assert completed(sweep) == everything(sweep)


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


# Pure parts


def view(arm: str, state: str, seed: int = 1, **fields: Any) -> progress.View:
    """A run as it may stand."""
    job = next(job for job in jobs_for([arm], seed) if job.seed == seed)
    return progress.View(job, state, **fields)


def test_time_left_by_arm_and_by_progress() -> None:
    assert progress.time_left([view("a", "pending")], 1) is None
    assert progress.time_left([view("a", "finished", seconds=10.0)], 1) == 0.0
    done = [view("a", "finished", seconds=10.0), view("b", "finished", seconds=30.0)]
    ahead = [view("a", "pending", 2), view("b", "running", 2, seconds=12.0)]
    assert progress.time_left(done + ahead, 1) == 10 + 18
    assert progress.time_left(done + ahead, 2) == 18, "no sooner than its longest run"
    half = view("a", "running", step=UPDATES // 2, seconds=10.0)
    assert progress.time_left([half], 1) == pytest.approx(20 * progress.AFTER_TRAINING - 10)


def test_standings_are_means_over_seeds_best_first() -> None:
    rows = [
        view("a", "finished", 1, score=10.0),
        view("a", "finished", 2, score=20.0),
        view("b", "finished", score=16.0),
    ]
    assert progress.standings([*rows, view("c", "running", score=99.0)]) == [("B", 16.0, 1), ("A", 15.0, 2)]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 10), (140, 50)])
def test_the_screen_fits_the_terminal(width: int, height: int) -> None:
    views = [view(f"arm{i}", "running", step=3, loss=0.5, score=12.3, seconds=9.0) for i in range(20)]
    views += [view(f"done{i}", "finished", score=float(i), seconds=30.0) for i in range(20)]
    views += [view("bad", "failed", reason="x" * 300)]
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(display.Screen(["s", "a test bench"], 2, "bleu", console).draw(views))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= height
    assert "20 of 41 done, 1 failed" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "3/8" in console.file.getvalue() and "19.00" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=3", 3), ("a=2.5", 2.5), ("a=none", None), ("a=True", True), ("a=cosine", "cosine"), ("a=b=c", "b=c")],
)
def test_options_on_the_command_line(text: str, value: Any) -> None:
    assert plan.parse(text) == ("a", value)


def arms_study() -> Any:
    """The study of the paper's modules."""
    from ablations import studies

    return studies.get("modules")


def test_overrides_may_not_touch_what_the_study_varies() -> None:
    assert plan.overrides_for(arms_study(), ["updates=3"]) == {"updates": 3}
    for wrong in ("seed=3", "noise_factor=2", "updates", "data=x"):
        with pytest.raises(UserError, match="--set"):
            plan.overrides_for(arms_study(), [wrong])


def test_names_of_study_folders() -> None:
    data = with_values(RunConfig(), {"data": "/somewhere/multi 30k/"})
    assert plan.title("modules", "tiny", RunConfig(), "tiny", {}) == "modules"
    assert plan.title("modules", "small", data, "small", {}) == "modules-multi_30k"
    assert plan.title("modules", "gpu", data, "small", {"lr": 1e-3}) == "modules-multi_30k-gpu-lr=0.001"


def test_jobs_go_seed_by_seed_and_have_their_own_hashes() -> None:
    jobs = plan.jobs_for(arms_study(), "modules", RunConfig(), 2, lambda config: digest(flat(config)))
    assert [job.seed for job in jobs] == [1] * 8 + [2] * 8
    assert len({job.hash8 for job in jobs}) == 16
    assert jobs[0].arm == "anchor+norm+F4" and jobs[0].config["noise_factor"] == 4.0
    with pytest.raises(UserError, match=r"--only.*Did you mean 'anchor\+norm\+F4'"):
        plan.chosen(jobs, ["anchor+norm+F5"])


def test_queue_names_change_with_arms_and_options_but_not_with_the_seed() -> None:
    one, two = Arm("a", "A", {}, {"lr": 1.0}), Arm("b", "B", {}, {"lr": 2.0})
    name = trials.queue_name("s", [one, two], {"seed": 1, "updates": 3})
    assert name == trials.queue_name("s", [one, two], {"seed": 2, "updates": 3})
    assert name != trials.queue_name("s", [one], {"seed": 1, "updates": 3})
    assert name != trials.queue_name("s", [one, two], {"seed": 1, "updates": 4})


def test_dry_run_lists_and_writes_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sweeps.study", "--dry-run", "--runs", str(tmp_path / "runs"), "--seeds", "1"]
    done = subprocess.run([*line, "--preset", "smoke"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.count("to do   ") == 8 and "8 of 8 runs to do" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_wrong_option_is_refused_with_the_nearest() -> None:
    line = [sys.executable, "-m", "sweeps.study", "--sedes", "3"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and "--seeds" in done.stderr


def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--storage nosuchdb://x"):
        storage.open_storage("nosuchdb://x")


def test_workers_run_on_one_thread_each_and_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert pool.environment(0, [])["OMP_NUM_THREADS"] == "1"
    assert [pool.environment(slot, ["2", "5"])["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["2", "5", "2"]


def conduct_here() -> int:
    """A whole sweep: RUNS ARMS SEEDS WORKERS."""
    runs, arms, seeds, workers = sys.argv[2:6]
    said = json.loads((Path(runs) / "behaviour.json").read_text())
    signal.signal(signal.SIGTERM, study._terminated)
    sweep = sweep_of(
        Path(runs), arms.split(","), int(seeds), int(workers), **{k.replace("*", "all"): v for k, v in said.items()}
    )
    return int(any(v.state == "failed" for v in conduct.conduct(sweep)))


if __name__ == "__main__":
    role = sys.argv[1]
    if role == "work":
        del sys.argv[1]
        sys.exit(command(lambda: worker.main(fake))())
    sys.exit(command(conduct_here)())
