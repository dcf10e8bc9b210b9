"""How far a training is, told to who watches from its rows of metrics: nothing is computed for it."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from core import watching
from core.display import SCORES, number

STAGE = "training"
WINDOW = 20
"""Rows that the speed shown is the mean of."""
WORDS = SCORES | {"nll": "NLL", "mse": "MSE"}
VALIDATION = "val/"


class ShownTraining:
    """A training of `updates` updates that begins, or goes on, after update `begun`."""

    def __init__(self, updates: int, begun: int | None = None) -> None:
        self.updates, self.begun = updates, begun
        self.rows: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.first: tuple[int, float] | None = None
        self.score = ""
        if begun is not None:
            trained = f"trained already ({updates:,} updates)"
            going = f"going on after update {begun:,} of {updates:,}"
            watching.watcher().say(going if begun < updates else trained)
        watching.stage(STAGE)

    def after(self, log: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        """A log that shows a row once `log` has it."""

        def both(row: dict[str, Any]) -> None:
            log(row)
            self.show(row)

        return both

    def show(self, row: Mapping[str, Any]) -> None:
        """A row of training, or of a validation, after which the training goes on."""
        if scores := {name.removeprefix(VALIDATION): row[name] for name in row if name.startswith(VALIDATION)}:
            self._validated(int(row["train/step"]), scores)
        elif "train/loss" in row:
            self._trained(row)

    def _validated(self, step: int, scores: Mapping[str, float]) -> None:
        said = sorted(scores, key=lambda name: name in ("loss", "mse", "nll"))  # scores before losses
        values = [f"{WORDS.get(name, name)} {number(scores[name], 2)}" for name in said]
        self.score = values[0]
        watching.watcher().say(f"validation after update {step:,} of {self.updates:,}: {', '.join(values)}")
        watching.stage(STAGE)
        if step < self.updates:
            watching.watcher().reached(step, self.updates, self.score, left=self._left(step))

    def _trained(self, row: Mapping[str, Any]) -> None:
        step = int(row["train/step"])
        self.first = self.first or (step, time.monotonic())
        self.rows.append((row.get("train/tokens", 0), row.get("train/seconds", 0.0)))
        facts = [f"loss {number(row['train/loss'], 3)}", self._speed(), self.score]
        watching.watcher().reached(step, self.updates, *filter(None, facts), left=self._left(step))

    def _speed(self) -> str:
        (tokens, seconds), (last_tokens, last_seconds) = self.rows[0], self.rows[-1]
        rate = (last_tokens - tokens) / (last_seconds - seconds) if last_seconds > seconds else 0.0
        return f"{rate:,.0f} tokens/s" if rate else ""

    def _left(self, step: int) -> float | None:
        """Seconds of training ahead, validations included, as those since the first row went."""
        begun, at = self.first or (step, 0.0)
        return (time.monotonic() - at) * (self.updates - step) / (step - begun) if step > begun else None
