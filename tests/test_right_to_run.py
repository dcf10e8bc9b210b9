"""The right to run: one process has it, its death frees it, and who looks does not take it."""

import multiprocessing
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_runs import pending_run

from ablations import records

ROOT = Path(__file__).parents[1]
HOLDER = """
import sys, time
from pathlib import Path
from ablations import records
print(records.claim(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that claims the run and stays."""
    line = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    return process


def claims(folder: Path, gate: Any, results: Any) -> None:
    """Claim when all are ready."""
    gate.wait()
    results.put(records.claim(folder))
    gate.wait()


def test_of_many_processes_one_gets_the_run(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(4), context.Queue()
    crowd = [context.Process(target=claims, args=(folder, gate, results)) for _ in range(4)]
    for process in crowd:
        process.start()
    assert sorted(results.get(timeout=30) for _ in crowd) == [False, False, False, True]
    for process in crowd:
        process.join()
    assert records.read(folder)["attempts"] == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_death_frees_the_run_at_once(tmp_path: Path, number: signal.Signals) -> None:
    folder = pending_run(tmp_path)
    with holder(folder) as process:
        assert records.busy(folder) and not records.claim(folder)
        process.send_signal(number)
        process.wait()
        assert not records.busy(folder)
        assert records.claim(folder), "the lease is still valid, but its holder is dead on this very host"
    assert records.read(folder)["attempts"] == 2
    records.release(folder)


def test_leases_of_other_hosts_are_respected_until_they_end(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    lease = {"host": socket.gethostname() + "-other", "pid": 1, "expires": time.time() + 50}
    (folder / "lock").touch()
    records.update(folder, state="running", lease=lease)
    assert records.busy(folder) and not records.claim(folder)
    records.update(folder, lease=lease | {"expires": time.time() - 1})
    assert not records.busy(folder) and records.claim(folder)
    records.release(folder)


def test_leases_are_renewed(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    assert records.claim(folder, lease_seconds=3)
    first = records.read(folder)["lease"]["expires"]
    time.sleep(2.2)
    assert records.read(folder)["lease"]["expires"] > first
    records.release(folder)


def test_exclusive_waits(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import sys, time; from pathlib import Path; from ablations import records\n"
    code += "with records.exclusive(Path(sys.argv[1])): print('in', flush=True); time.sleep(0.7)"
    other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    with other:
        assert other.stdout is not None and other.stdout.readline() == b"in\n"
        began = time.monotonic()
        with records.exclusive(path):
            assert time.monotonic() - began > 0.4


def test_a_signal_in_the_middle_of_a_claim_leaves_no_run_that_seems_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = pending_run(tmp_path), records.update

    def interrupted(folder: Path, **fields: object) -> dict[str, object]:
        write(folder, **fields)
        monkeypatch.undo()
        raise SystemExit(143)

    monkeypatch.setattr(records, "update", interrupted)
    with pytest.raises(SystemExit):
        records.claim(folder)
    records.leave_all()
    record = records.read(folder)
    assert (record["state"], record["attempts"]) == ("pending", 0) and not records.busy(folder)


def test_many_who_look_do_not_take_each_other_for_holders(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    (folder / "lock").touch()
    with ThreadPoolExecutor(8) as crowd:
        assert not any(crowd.map(records.busy, [folder] * 4000))
