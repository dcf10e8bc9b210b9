"""Sweeps over several hosts: hosts are separate folders here, which share a storage and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import postgres
import pytest
import searching
from fake_sweep import ME, ROOT, STARTED, UPDATES, completed, everything, run, start, states, sweep_of, until

from ablations import records
from core.run_folder import read
from sweeps.running import conduct, storage
from sweeps.running.reconcile import Attempts

pytestmark = [
    pytest.mark.usefixtures("sweeping"),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]
ARMS = ("a", "b", "c")
PROXY = """
import sys
from optuna.storages import run_grpc_proxy_server
from sweeps.running.storage import open_storage
run_grpc_proxy_server(open_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """One PostgreSQL for these tests."""
    with postgres.serving() as running:
        yield running


@contextmanager
def proxy(where: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Optuna's gRPC proxy in front of a storage: its URL and its process."""
    port = postgres.free_port()
    process = subprocess.Popen([sys.executable, "-c", PROXY, where, str(port)])
    try:
        yield f"grpc://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def join(sweep: conduct.Sweep, runs: Path, *options: str) -> "subprocess.Popen[str]":
    """A worker on another host: it has the URL, and a folder of its own."""
    runs.mkdir(exist_ok=True)
    if not (runs / "behaviour.json").exists():
        (runs / "behaviour.json").write_text((sweep.runs / "behaviour.json").read_text())
    line = [*ME, "work", "--runs", str(runs), *options]
    env = os.environ | {storage.ENVIRONMENT: sweep.storage}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    STARTED.append(process)
    return process


def busy(runs: Path) -> list[Path]:
    """The runs that a host is at."""
    return [path.parent for path in runs.glob("s/*/run.json") if records.read(path.parent)["state"] == "running"]


def begun(*hosts: Path) -> list[str]:
    """The runs that were begun, as often as they were."""
    found = [path for host in hosts for path in host.rglob("executions")]
    return sorted(path.parent.name for path in found for _ in path.read_text())


def assert_all_here(sweep: conduct.Sweep) -> None:
    """Every run is finished in the sweep's own folders, whole, and once in Optuna."""
    for job in sweep.jobs:
        folder = job.folder(sweep.runs)
        assert records.read(folder)["state"] == "finished"
        assert read(folder / "scores.json")["bleu"] == 10.0 * job.seed + len(job.arm)
        rows = [row["train/step"] for row in read(folder / "metrics.jsonl")]
        assert rows == list(range(1, UPDATES + 1))
    assert completed(sweep) == everything(sweep)


@pytest.mark.slow
def test_workers_elsewhere_send_their_results_and_a_killed_one_loses_nothing(
    server: postgres.Server, tmp_path: Path
) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    sweep = sweep_of(one, ARMS, 2, workers=1, where=server.database(), lease=9.0, all="brisk")
    conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
    three.mkdir()
    (three / "behaviour.json").write_text('{"*": "gate"}')
    victim = join(sweep, three)
    until(lambda: bool(busy(three)), 60)
    (lost,) = busy(three)
    victim.kill()
    victim.communicate()
    helper = join(sweep, two)
    until(lambda: bool(busy(two)), 60)
    host = start(sweep)
    out, err = host.communicate(timeout=200)
    said, _ = helper.communicate(timeout=200)
    assert (host.returncode, helper.returncode) == (0, 0), out + err + said
    assert_all_here(sweep)
    assert "finished  " in said and begun(two)
    assert begun(one, two) == sorted(job.key for job in sweep.jobs), "each run once, that of the dead one too"
    assert "no sign of life of its worker" in out, "and it was said"
    assert records.read(one / "s" / lost.name)["state"] == "finished"
    written = [p for p in tmp_path.rglob("*") if p.is_file() and postgres.PASSWORD.encode() in p.read_bytes()]
    assert not written and postgres.PASSWORD not in out + err + said


@pytest.mark.slow
def test_two_sweeps_at_once_without_shared_files_share_the_work(server: postgres.Server, tmp_path: Path) -> None:
    where = server.database()
    both = [sweep_of(tmp_path / name, ARMS, 2, workers=1, where=where, all="brisk") for name in ("one", "two")]
    hosts = [start(sweep) for sweep in both]
    for host in hosts:
        out, err = host.communicate(timeout=200)
        assert host.returncode == 0, out + err
    assert begun(tmp_path) == sorted(job.key for job in both[0].jobs), "each run once"
    for sweep in both:
        assert_all_here(sweep)


@pytest.mark.slow
def test_a_storage_that_vanishes_in_mid_run_loses_nothing(server: postgres.Server, tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "one", ("a", "b"), 1, workers=1, where=server.database(), all="gate")
    conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
    helper = join(sweep, tmp_path / "two", "--patience", "1")
    until(lambda: bool(busy(tmp_path / "two")), 60)
    (held,) = busy(tmp_path / "two")
    host = start(sweep)
    until(lambda: "running" in states(sweep), 60)
    server.stop()
    for name in ("one", "two"):
        (tmp_path / name / "go").touch()
    try:
        said, _ = helper.communicate(timeout=200)
        assert helper.returncode == 2 and "Traceback" not in said, said
        assert "finished, but the storage does not answer" in said and "start the same command again" in said
    finally:
        server.start()
    said, _ = join(sweep, tmp_path / "two").communicate(timeout=200)
    assert f"delivered {held.name}" in said, said
    out, err = host.communicate(timeout=200)
    assert host.returncode == 0, out + err
    assert "does not answer; what runs goes on" in err and "answers again" in err and "Traceback" not in err
    assert len(begun(tmp_path)) == 2
    assert_all_here(sweep)


@pytest.mark.slow
def test_through_the_grpc_proxy(tmp_path: Path) -> None:
    with proxy(str(tmp_path / "trials.journal")) as (url, _):
        sweep = sweep_of(tmp_path / "one", ARMS, 2, workers=1, where=url, all="brisk")
        conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
        helper = join(sweep, tmp_path / "two")
        until(lambda: bool(busy(tmp_path / "two")), 60)
        host = start(sweep)
        out, err = host.communicate(timeout=200)
        said, _ = helper.communicate(timeout=200)
        assert (host.returncode, helper.returncode) == (0, 0), out + err + said
        assert begun(tmp_path / "two") and len(begun(tmp_path)) == 6
        assert_all_here(sweep)


def test_a_proxy_that_takes_calls_and_answers_none_is_a_lost_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ANSWER_SECONDS", 1.0)
    with proxy(str(tmp_path / "trials.journal")) as (url, process):
        sweep = sweep_of(tmp_path / "one", ("a",), 1, where=url)
        queue = conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
        process.send_signal(signal.SIGSTOP)
        state = ["ps", "-o", "state=", "-p", str(process.pid)]
        until(lambda: "T" in subprocess.run(state, capture_output=True, text=True).stdout, 10)
        with pytest.raises(Exception, match="DEADLINE_EXCEEDED") as caught:
            queue.trials()
        assert storage.lost(caught.value) and storage.reason(caught.value) == "Deadline Exceeded"
        process.send_signal(signal.SIGCONT)
        assert len(storage.patiently(queue.trials, 60)) == 1, "it answers again"


def test_a_proxy_that_dies_is_told_in_one_line(tmp_path: Path) -> None:
    with proxy(str(tmp_path / "trials.journal")) as (url, process):
        sweep = sweep_of(tmp_path / "one", ("a", "b"), 1, where=url, all="gate")
        conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
        helper = join(sweep, tmp_path / "two", "--patience", "1")
        until(lambda: bool(busy(tmp_path / "two")), 60)
        process.kill()
    (tmp_path / "two" / "go").touch()
    said, _ = helper.communicate(timeout=100)
    assert helper.returncode == 2 and "Traceback" not in said and "finished, but the storage does not answer" in said
    assert len(said.splitlines()) == 3 and len(said.splitlines()[-1]) < 400, said


def test_one_that_is_interrupted_gives_its_run_back_and_goes_on_with_it_later(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "one", ("a",), 1, where=str(tmp_path / "trials.journal"), all="gate")
    queue = conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
    helper = join(sweep, tmp_path / "two")
    until(lambda: len(begun(tmp_path / "two")) == 1, 60)
    helper.send_signal(signal.SIGTERM)
    said, _ = helper.communicate(timeout=100)
    assert helper.returncode == 143 and "Traceback" not in said, said
    assert [trial.state.name for trial in queue.trials()] == ["FAIL", "WAITING"]
    killed = join(sweep, tmp_path / "two")
    until(lambda: len(begun(tmp_path / "two")) == 2, 60)
    killed.kill()
    killed.communicate()
    (tmp_path / "two" / "go").touch()
    said, _ = join(sweep, tmp_path / "two").communicate(timeout=100)
    assert "given back a-s1-" in said and "finished  a-s1-" in said, said
    run(sweep)
    assert_all_here(sweep)
    assert not list((tmp_path / "one").rglob("executions"))


def test_what_a_host_cannot_do_is_left_to_others_and_a_failure_counts(tmp_path: Path) -> None:
    """The journal file is a storage like any other; `two` refuses what it takes, `three` fails at it."""
    where = str(tmp_path / "trials.journal")
    sweep = sweep_of(tmp_path / "one", ("a",), 1, workers=1, where=where, all="quick")
    conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
    for name, what in (("two", "refuse"), ("three", "fail")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "behaviour.json").write_text(f'{{"*": "{what}"}}')
    helper = join(sweep, tmp_path / "two")
    said, _ = helper.communicate(timeout=100)
    assert helper.returncode == 2 and "cannot run on this host, and is left to others: your text is unusable" in said
    said, _ = join(sweep, tmp_path / "three").communicate(timeout=100)
    assert "failed    a-s1-" in said
    queue = conduct.set_up(sweep, attempts := Attempts(sweep.jobs, sweep.runs))
    views, _ = run(sweep)
    assert queue.trials() and attempts
    assert [view.state for view in views] == ["finished"]
    assert_all_here(sweep)


@pytest.mark.slow
def test_a_search_on_a_database_killed_goes_on_to_the_points_of_one_on_a_file(
    server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
    arm = searching.CONTROL
    plain = searching.search_of(tmp_path / "file", (arm,), trials=6, seeds=(101,), pruner="none")
    searching.serially(plain)
    changes: dict[str, Any] = {"storage": server.database(), "behaviour": {arm: "slow"}}
    search = searching.search_of(tmp_path / "one", (arm,), trials=6, seeds=(101,), pruner="none", **changes)
    line = [*searching.ME, "search", str(search.runs)]
    STARTED.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    until(lambda: len(list(search.folder.glob("*/executions"))) >= 2, 100)
    STARTED[-1].kill()
    STARTED[-1].communicate()
    (search.runs / "behaviour.json").write_text("{}")
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    found, expected = ([(t.params, t.values) for t in each.arm_trials[arm].read()] for each in (search, plain))
    assert len(found) == 12 and found == expected
    said = [path for path in search.folder.rglob("*") if path.is_file()]
    assert not [path for path in said if postgres.PASSWORD.encode() in path.read_bytes()]
