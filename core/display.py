"""How far a command is, for people: one line that renews itself on a terminal, now and then a line anywhere else.

Both are watchers (core/watching.py). What is said (`say`) stays: on a terminal it moves up, elsewhere it is a line with
the time. Elsewhere progress is a line at most every PERIOD_SECONDS, so work that takes less shows none. An output that
nobody reads any more, or a full disk behind it, ends what is shown, not the work.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.reading.typed import printable
from core.watching import watched_by

PERIOD_SECONDS = 30.0
"""Without a terminal, the shortest time between two lines of progress."""
BAR = 24
LEAST_BAR = 6
"""Characters of a progress bar; a shorter one is left out."""
REFRESHES = 2
"""How often a second the line of a terminal is renewed."""


SCORES = {"bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


def score_name(metric: str) -> str:
    """What a score is called."""
    return SCORES.get(metric, metric)


def duration(seconds: float) -> str:
    """About how long: '40 s', '12 min', '3 h 05 min', '2 d 4 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{minutes // 60} h {minutes % 60:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def number(value: float | None, digits: int) -> str:
    """A value, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def timed(text: str) -> str:
    """The text with the time before it."""
    return f"{time.strftime('%H:%M:%S')} {text}"


def on_terminal(console: Console) -> bool:
    """Whether a console is a terminal that can show what renews itself."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


class Standing:
    """How far the present stage is."""

    def __init__(self, stage: str = "") -> None:
        self.stage, self.began = stage, time.monotonic()
        self.done = self.total = 0
        self.facts: tuple[str, ...] = ()
        self.told_left: float | None = None
        self.told_at = self.began
        self.first: tuple[int, float] | None = None

    def reached(self, done: int, total: int, facts: tuple[str, ...], left: float | None) -> None:
        """As a watcher is told."""
        self.done, self.total, self.facts, self.told_left = done, total, facts, left
        self.told_at = time.monotonic()
        self.first = self.first or (done, self.told_at)

    @property
    def count(self) -> str:
        """'300/600'; empty where the total is not known."""
        return f"{self.done:,}/{self.total:,}" if self.total else ""

    @property
    def left(self) -> str:
        """'12 min left'; empty at the end; how long the stage has taken where nothing shows how long it will."""
        now = time.monotonic()
        if self.total and self.done >= self.total:
            return ""
        seconds = self.told_left
        if seconds is None and self.first and self.done > self.first[0]:
            seconds = (self.told_at - self.first[1]) * (self.total - self.done) / (self.done - self.first[0])
        if seconds is None:
            return duration(now - self.began) if now - self.began >= 1 else ""
        return f"{duration(max(seconds - (now - self.told_at), 0.0))} left"

    def text(self) -> str:
        """All of it in words."""
        return ", ".join(part for part in (f"{self.stage} {self.count}".strip(), *self.facts, self.left) if part)

    def line(self, width: int) -> RenderableType:
        """All of it in one line: a bar where there is room, the last facts left out where there is none."""
        stage, facts, ends = printable(self.stage), list(map(printable, self.facts)), (self.count, self.left)

        def after() -> str:
            return "  ".join(part for part in (ends[0], *facts, ends[1]) if part)

        while facts and len(stage) + 1 + len(after()) >= width:
            facts.pop()
        bar = min(BAR, width - len(stage) - len(after()) - 3)
        shown: list[RenderableType] = [Text(stage, style="bold", no_wrap=True)]
        if self.total and bar >= LEAST_BAR:
            shown.append(ProgressBar(self.total, self.done, width=bar))
        grid = Table.grid(padding=(0, 1))
        for _ in shown:
            grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row(*shown, Text(after(), no_wrap=True, overflow="ellipsis"))
        return grid


class LiveLine(contextlib.AbstractContextManager["LiveLine"]):
    """One line at the foot of a terminal that renews itself; it is gone in the end."""

    def __init__(self, console: Console) -> None:
        self.console, self.standing = console, Standing()
        self.live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES,
            transient=True,
            redirect_stdout=not console.stderr,  # a table that goes to a file would land on the terminal
        )

    def _draw(self) -> RenderableType:
        return self.standing.line(self.console.width) if self.standing.stage else Text()

    def __enter__(self) -> "LiveLine":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()
        if kind is not None and self.standing.stage:  # where it was when it ended
            self.say(self.standing.text())

    def stage(self, name: str) -> None:
        """As a watcher."""
        self.standing = Standing(name)

    def reached(self, done: int, total: int, *facts: str, left: float | None = None) -> None:
        """As a watcher; the line is renewed by its own clock."""
        self.standing.reached(done, total, facts, left)

    def say(self, text: str) -> None:
        """As a watcher."""
        self.console.print(Text(printable(text)), soft_wrap=True)


class PlainLines(contextlib.AbstractContextManager["PlainLines"]):
    """Lines with the time, no control characters: for logs, pipes and continuous integration."""

    def __init__(self, stream: TextIO, period: float = PERIOD_SECONDS) -> None:
        self.stream, self.period, self.standing = stream, period, Standing()
        self.spoke = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.standing.stage:
            self.say(self.standing.text())

    def stage(self, name: str) -> None:
        """As a watcher."""
        self.standing = Standing(name)
        self._remind()

    def reached(self, done: int, total: int, *facts: str, left: float | None = None) -> None:
        """As a watcher."""
        self.standing.reached(done, total, facts, left)
        self._remind()

    def _remind(self) -> None:
        if time.monotonic() - self.spoke >= self.period:
            self.say(self.standing.text())

    def say(self, text: str) -> None:
        """As a watcher."""
        write_line(self.stream, timed(text))
        self.spoke = time.monotonic()


Display = LiveLine | PlainLines
"""A watcher, within a `with`."""


def write_line(stream: TextIO, text: str) -> None:
    """A line to a stream, at once; a stream that takes nothing any more is left alone."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(text), file=stream, flush=True)


def display(stderr: bool = False) -> Display:
    """What suits standard output, or standard error, where the output itself is a table or a text."""
    console = Console(stderr=stderr)
    return LiveLine(console) if on_terminal(console) else PlainLines(sys.stderr if stderr else sys.stdout)


@contextlib.contextmanager
def shown(stderr: bool = False) -> Iterator[Display]:
    """Within it a display watches the work."""
    with display(stderr) as one, watched_by(one):
        yield one
