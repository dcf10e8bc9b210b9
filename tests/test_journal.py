"""Optuna's journal damaged: the line is named, the file kept aside, and the study goes on from the run folders."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_sweep import ROOT, completed, everything, executions, run, sweep_of
from searching import search_of, serially

from ablations import records
from core.errors import UserError
from sweeps.running import storage
from sweeps.running.plan import job_from
from sweeps.tuning import search_record
from sweeps.tuning.rounds import complete

pytestmark = pytest.mark.usefixtures("sweeping")


def lines(path: Path, change: Callable[[list[bytes]], None]) -> None:
    """Change the lines of a file."""
    found = path.read_bytes().split(b"\n")
    change(found)
    path.write_bytes(b"\n".join(found))


DAMAGE: dict[str, tuple[Callable[[list[bytes]], None], int]] = {
    "blank at the end": (lambda found: found.insert(-1, b""), -1),
    "blank": (lambda found: found.insert(3, b""), 4),
    "cut": (lambda found: found.__setitem__(2, found[2][:20]), 3),
    "flipped": (lambda found: found.__setitem__(0, b"#" + found[0][1:]), 1),
    "zeros": (lambda found: found.__setitem__(4, bytes(40)), 5),
    "no operation": (lambda found: found.__setitem__(1, b"[]"), 2),
    "of another kind": (lambda found: found.__setitem__(5, b'{"op_code":99,"worker_id":"x"}'), 6),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_journal_is_set_aside_and_the_sweep_goes_on(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_of(tmp_path / "a;b")
    run(sweep)
    journal = Path(sweep.storage)
    damage, number = DAMAGE[kind]
    lines(journal, damage)
    damaged = journal.read_bytes()
    number = number if number > 0 else damaged.count(b"\n")
    with pytest.raises(
        UserError, match=rf"optuna\.journal:{number}: not a line of Optuna's journal; the runs are safe"
    ):
        storage.open_storage(sweep.storage)
    run(sweep)
    said = capfd.readouterr().err
    assert f"{journal}:{number}: not a line" in said and "set aside as optuna.journal.damaged-1" in said
    assert (journal.parent / "optuna.journal.damaged-1").read_bytes() == damaged
    assert executions(sweep) == [1, 1, 1, 1] and completed(sweep) == everything(sweep)


def test_a_journal_that_others_are_at_work_on_stays(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    run(sweep)
    lines(Path(sweep.storage), DAMAGE["blank"][0])
    folder = sweep.jobs[0].folder(sweep.runs)
    records.update(folder, state="pending")
    assert records.claim(folder)
    try:
        with pytest.raises(UserError, match="at work on it now"):
            run(sweep)
    finally:
        records.release(folder)
    assert not list(tmp_path.glob("s/*.damaged-*"))


def test_a_search_goes_on_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    search = search_of(tmp_path, trials=1)
    serially(search)
    before = complete(search)
    search_record.write(search, 1.0, True)
    lines(Path(search.storage), DAMAGE["cut"][0])
    again = search_of(tmp_path, trials=1)
    for trials in again.arm_trials.values():
        trials.study  # noqa: B018 (made when first asked for)
    search_record.restore(again)
    assert complete(again) == before > 0 and "optuna.journal:3: not a line" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [("config", 5), ("config", None), ("seed", "1"), ("arm", []), ("study", "../x"), ("toggles", "x")],
)
def test_a_run_in_the_storage_whose_types_are_wrong_is_refused(name: str, value: object, tmp_path: Path) -> None:
    job = asdict(sweep_of(tmp_path).jobs[0])
    with pytest.raises(UserError, match=r"the storage holds what is not a run|is not trusted"):
        job_from({"job": job | {name: value}}).with_text("x")
    with pytest.raises(UserError, match="`job` is"):
        job_from({"job": value})


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine\n")
    with pytest.raises(UserError, match="no journal of Optuna's"):
        storage.open_storage(str(path))
    assert path.read_text() == "mine\n"


@pytest.mark.parametrize("where", ["postgresql:/me:secret@host/db", "mysql:/me:s e@host"])
def test_a_url_with_a_slash_too_few_makes_no_file_and_shows_no_password(where: str, tmp_path: Path) -> None:
    code = "from core.errors import command; from sweeps.running.storage import open_storage as o; "
    code += f"command(lambda: o({where!r}))()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 2 and b"a URL has two slashes" in done.stderr
    assert b"secret" not in done.stderr and b"s e" not in done.stderr and not list(tmp_path.iterdir())


def test_the_journal_that_is_made_anew_is_json(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    run(sweep)
    lines(Path(sweep.storage), DAMAGE["zeros"][0])
    run(sweep)
    assert all(json.loads(line) for line in Path(sweep.storage).read_bytes().splitlines())
