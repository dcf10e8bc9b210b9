"""What a sweep shows: time left, standings, the screen."""

import io
from typing import Any

import pytest
from fake_sweep import UPDATES, jobs_for
from rich.console import Console

from sweeps.running import display, progress


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


def test_plain_lines_begin_with_how_things_stand() -> None:
    fresh, resumed = io.StringIO(), io.StringIO()
    display.Lines(1, "bleu", fresh).show([view("a", "pending"), view("b", "pending")])
    assert fresh.getvalue() == "", "nothing has happened yet"
    lines = display.Lines(1, "bleu", resumed)
    for _ in range(2):
        lines.show([view("a", "finished", seconds=9.0), view("b", "running", step=3)])
    (line,) = resumed.getvalue().splitlines()
    assert line[9:].startswith("standing  1 of 2 done") and line.endswith("; running: b seed 1 3/8")
