"""What a sweep shows while it runs: a live screen on a terminal, one line an event anywhere else."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.display import duration, number, on_terminal, score_name, timed, write_line
from core.reading.typed import printable
from sweeps.running.progress import View, standings, time_left

REMINDER_SECONDS = 120.0
"""Longest silence of the plain display."""
WIDE = 76
"""Columns of a terminal from which on a run has a bar."""


def summary(views: Sequence[View], workers: int) -> str:
    """'3 of 16 done, 1 failed, about 4 min left'."""
    states, left = Counter(view.state for view in views), time_left(views, workers)
    parts = [f"{states['finished']} of {len(views)} done"]
    parts += [f"{states['failed']} failed"] * bool(states["failed"])
    if states["pending"] + states["running"]:
        parts.append("time left not known yet" if left is None else f"about {duration(left)} left")
    return ", ".join(parts)


def progress(view: View) -> str:
    """'300/600', or what comes before and after training."""
    if view.done == 0:
        return "starting"
    return f"{view.done}/{view.total}" if view.done < view.total else "decoding"


def name(view: View) -> str:
    """'anchor+norm+F4 seed 1'."""
    return f"{view.job.arm} seed {view.job.seed}"


def say(text: str) -> None:
    """One line with the time."""
    write_line(sys.stdout, timed(text))


class Lines(contextlib.AbstractContextManager["Lines"]):
    """One line an event, no control characters: for logs, pipes and continuous integration."""

    def __init__(self, workers: int, metric: str, stream: TextIO | None = None) -> None:
        self.workers, self.metric, self.stream = workers, metric, stream or sys.stdout
        self.before: dict[str, View] = {}
        self.spoke = time.monotonic()

    def __exit__(self, *error: object) -> None:
        """Nothing is left open."""

    def _say(self, text: str) -> None:
        write_line(self.stream, timed(text))
        self.spoke = time.monotonic()

    def show(self, views: Sequence[View]) -> None:
        """Say what has changed since the last time, or that it goes on; at first, what others have done or do."""
        states = {view.state for view in views}
        if not self.before and states not in ({"pending"}, {"finished"}) and states & {"running", "finished"}:
            self._say(f"standing  {self._standing(views)}")
        for view in views:
            old = self.before.get(view.job.key)
            if old is not None and (old.state, old.attempts) != (view.state, view.attempts):
                self._event(view, views)
            self.before[view.job.key] = view
        if time.monotonic() - self.spoke > REMINDER_SECONDS:
            self._say(f"running   {self._standing(views)}")

    def _standing(self, views: Sequence[View]) -> str:
        running = ", ".join(f"{name(v)} {progress(v)}" for v in views if v.state == "running")
        return summary(views, self.workers) + f"; running: {running}" * bool(running)

    def _event(self, view: View, views: Sequence[View]) -> None:
        if view.state == "running":
            again = f" again: attempt {view.attempts - 1} failed or its worker died" if view.attempts > 1 else ""
            self._say(f"started   {name(view)}{again}")
        elif view.state == "finished":
            score = f"{score_name(self.metric)} {number(view.score, 2)} in {duration(view.seconds)}"
            self._say(f"finished  {name(view)}: {score}; {summary(views, self.workers)}")
        else:
            self._say(f"{'failed' if view.state == 'failed' else 'stopped':9} {name(view)}: {view.reason}")


class Screen(contextlib.AbstractContextManager["Screen"]):
    """A live screen: what runs, what is done, time left, best so far."""

    def __init__(self, heading: Sequence[str], workers: int, metric: str, console: Console | None = None) -> None:
        self.heading, self.workers, self.metric = heading, workers, metric
        self.console = console or Console()
        self.live = Live(console=self.console, auto_refresh=False, transient=False)

    def __enter__(self) -> "Screen":
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def show(self, views: Sequence[View]) -> None:
        """Draw the runs as they stand now."""
        self.live.update(self.draw(views), refresh=True)

    def draw(self, views: Sequence[View]) -> RenderableType:
        """The screen as lines and tables, no higher than the terminal."""
        running = [v for v in views if v.state == "running"]
        failed = [v for v in views if v.state == "failed"][-2:]
        room = max(2, self.console.height - len(failed) - 9)
        shown = running[: max(1, room // 2)]
        best = standings(views)[: max(1, room - len(shown))]
        space: list[RenderableType] = [Text()] if self.console.height >= 16 else []
        parts = [_line(text, style) for text, style in zip(self.heading, ("bold", "yellow"), strict=False) if text]
        overall = Table.grid(padding=(0, 1))
        done = sum(v.state in ("finished", "failed") for v in views)
        overall.add_row(ProgressBar(len(views), done, width=24), summary(views, self.workers))
        parts += [overall]
        parts += [*space, running_table(shown, f"val {score_name(self.metric)}", self.console.width)] if shown else []
        parts += [_line(f"failed: {name(v)}: {v.reason}", "red") for v in failed]
        parts += [*space, best_table(best, f"mean {score_name(self.metric)}", "seeds")] if best else []
        return Group(*parts)


def running_table(views: Sequence[View], score: str, width: int) -> Table:
    """What runs now; score: what its last validation gave. In a narrow terminal the bars make room for the names."""
    bars = width >= WIDE
    table = _table("running", "seed", *[""] * bars, "training", "loss", score, "time")
    for v in views:
        bar = [ProgressBar(max(v.total, 1), min(v.done, v.total), width=16)] * bars
        cells = [number(v.loss, 3), number(v.score, 1), duration(v.seconds)]
        table.add_row(Text(printable(v.job.label)), str(v.job.seed), *bar, progress(v), *cells)
    return table


def best_table(rows: Sequence[tuple[str, float, int]], score: str, count: str) -> Table:
    """Arms with their scores, and what these rest on."""
    table = _table("best so far", score, count)
    for label, value, made in rows:
        table.add_row(Text(printable(label)), number(value, 2), str(made))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _line(text: str, style: str) -> RenderableType:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")


Display = Lines | Screen
"""Shown the runs again and again, within a `with`."""


def display(heading: Sequence[str], workers: int, metric: str) -> Display:
    """The screen if this is a terminal that can show it, else plain lines. heading: what it is; what to beware of."""
    console = Console()
    if on_terminal(console):
        return Screen(heading, workers, metric, console)
    write_line(sys.stdout, "\n".join(line for line in heading if line))
    return Lines(workers, metric)
