"""How far a training is, told to who watches from its rows of metrics: nothing is computed for it."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ablations.metrics_log import progress
from core import watching
from core.display import SCORES, number
from core.sections import TrainingConfig

STAGE = "training"
WINDOW = 20
"""Rows that the speed shown is the mean of."""
WORDS = SCORES | {"nll": "NLL", "mse": "MSE"}
VALIDATION = "val/"


def length(training: TrainingConfig) -> str:
    """'700 updates', or '30 s of training' where its time ends it."""
    seconds = training.training_seconds
    return f"{training.updates:,} updates" if seconds is None else f"{seconds:,g} s of training"


class ShownTraining:
    """A training that begins, or goes on, after update `begun`."""

    def __init__(self, training: TrainingConfig, begun: int | None = None) -> None:
        self.training, self.begun, self.length = vars(training), begun, length(training)
        self.rows: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.first: tuple[int, float] | None = None
        self.standing = (0, 0)
        self.score = ""
        if begun is not None:
            trained = training.training_seconds is None and begun >= training.updates
            said = f"trained already ({self.length})" if trained else f"going on after update {self.last(begun)}"
            watching.watcher().say(said)
        watching.stage(STAGE)

    def last(self, step: int) -> str:
        """'300 of 700', or '300' where nobody knows how many there will be."""
        return f"{step:,}" if self.training["training_seconds"] else f"{step:,} of {self.training['updates']:,}"

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
        watching.watcher().say(f"validation after update {self.last(step)}: {', '.join(values)}")
        watching.stage(STAGE)
        done, total = self.standing
        if done < total:
            watching.watcher().reached(done, total, self.score, left=self._left(done, total))

    def _trained(self, row: Mapping[str, Any]) -> None:
        self.standing = done, total = progress(self.training, row)
        self.first = self.first or (done, time.monotonic())
        self.rows.append((row.get("train/tokens", 0), row.get("train/seconds", 0.0)))
        facts = [f"loss {number(row['train/loss'], 3)}", self._speed(), self.score]
        watching.watcher().reached(done, total, *filter(None, facts), left=self._left(done, total))

    def _speed(self) -> str:
        (tokens, seconds), (last_tokens, last_seconds) = self.rows[0], self.rows[-1]
        rate = (last_tokens - tokens) / (last_seconds - seconds) if last_seconds > seconds else 0.0
        return f"{rate:,.0f} tokens/s" if rate else ""

    def _left(self, done: int, total: int) -> float | None:
        """Seconds of training ahead, validations included, as those since the first row went."""
        begun, at = self.first or (done, 0.0)
        return (time.monotonic() - at) * (total - done) / (done - begun) if done > begun else None
