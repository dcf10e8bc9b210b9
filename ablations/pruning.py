"""Ending a training that promises too little: whoever runs it says when, after any validation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ablations.records import Tracker

Stop = Callable[[int, float], bool]
"""stop(step, validation BLEU) -> whether to end the training here."""


class Pruned(Exception):
    """Training was stopped because it promises too little."""

    def __init__(self, step: int, bleu: float) -> None:
        super().__init__(f"pruned after {step} updates at BLEU {bleu:.2f}")
        self.step, self.bleu = step, bleu


class Watched:
    """A tracker that passes everything on, and raises Pruned after a validation if `stop` says so."""

    def __init__(self, tracker: Tracker, stop: Stop) -> None:
        self.tracker, self.stop = tracker, stop

    def log(self, row: Mapping[str, Any]) -> None:
        """One row of metrics.jsonl, which has it already."""
        self.tracker.log(row)
        if row.get("val/bleu") is not None and self.stop(row["train/step"], row["val/bleu"]):
            raise Pruned(row["train/step"], row["val/bleu"])

    def results(self, folder: Path) -> None:
        """Nothing of a search run is shown but its rows."""

    def finish(self, state: str) -> None:
        """Whoever made the tracker ends it."""


def never(step: int, bleu: float) -> bool:
    """Trains to the end."""
    return False
