"""What a search shows on a terminal below the news that scroll by: budget, runs, each arm's best so far."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.display import BAR, duration, on_terminal
from sweeps.running.display import best_table, running_table
from sweeps.running.progress import View


@dataclass(frozen=True)
class SearchStanding:
    """How far a search is. budget: seconds, None = trials are counted. best: (arm, best score, trials) of each arm."""

    rounds: int
    spent: float
    budget: float | None
    runs: Sequence[View]
    best: Sequence[tuple[str, float, int]]

    def summary(self) -> str:
        """'round 3, 12 min of 30 min'."""
        limit = "" if self.budget is None else f" of {duration(self.budget)}"
        return f"round {self.rounds}, {duration(self.spent)}{limit}"


class SearchScreen(contextlib.AbstractContextManager["SearchScreen"]):
    """A live screen; without a terminal nothing: there the news and a reminder are lines (sweeps/tuning/loop.py)."""

    def __init__(self, score: str, console: Console | None = None) -> None:
        self.score, self.console = score, console or Console()
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.shown = on_terminal(self.console)

    def __enter__(self) -> "SearchScreen":
        if self.shown:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def show(self, standing: SearchStanding) -> None:
        """Draw the search as it stands now."""
        self.live.update(self.draw(standing), refresh=True)

    def draw(self, standing: SearchStanding) -> RenderableType:
        """The screen as lines and tables, no higher than half the terminal: the news need room too."""
        room = max(2, self.console.height // 2 - 4)
        runs = [v for v in standing.runs if v.state == "running"][: max(1, room // 2)]
        best = sorted(standing.best, key=lambda row: -row[1])[: max(1, room - len(runs))]
        overall = Table.grid(padding=(0, 1))
        bar = [ProgressBar(standing.budget, min(standing.spent, standing.budget), width=BAR)] if standing.budget else []
        overall.add_row(*bar, Text(standing.summary(), no_wrap=True, overflow="ellipsis"))
        parts: list[RenderableType] = [overall]
        parts += [running_table(runs, self.score, self.console.width)] if runs else []
        parts += [best_table(best, self.score, "trials")] if best else []
        return Group(*parts)
