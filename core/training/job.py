"""What a training needs, its state, and how it ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config import RunConfig
from core.distributed import ALONE, Ranks
from core.methods.method import Method
from core.scoring.tokenizers import USUAL
from core.text.batches import BatchStream
from core.training.step_modes import Mode

Log = Callable[[dict[str, Any]], None]
Stop = Callable[[int, dict[str, float]], bool]
"""(step, scores of a validation) -> whether to end the training here."""


def never(step: int, scores: dict[str, float]) -> bool:
    """Trains to the end."""
    return False


@dataclass(frozen=True)
class Job:
    """What training needs: the method, where to write, what to learn from, whom to tell.

    validate(network) -> {"val/...": number}, with "val/<metric>" to choose checkpoints by. log(row) gets each row of
    metrics. Both are called from the loop and must not draw from torch's global generator. stop(step, scores) may end
    the training after a validation. Of several ranks all call validate, log and stop; what the first one's stop says
    holds for all, and the first one alone writes. bleu_tokenizer: that of BLEU-MBR, for whoever uses the model. step:
    how an update is run (core/training/step_modes.py). until: the moment (time.monotonic) from which training saves and
    raises TimeIsUp.
    """

    config: RunConfig
    method: Method[Any]
    folder: Path
    stream: BatchStream
    validate: Callable[[Any], dict[str, float]]
    log: Log
    stop: Stop = never
    ranks: Ranks = ALONE
    bleu_tokenizer: str = USUAL
    step: Mode = "auto"
    until: float | None = None

    def validated(self, scores: dict[str, float]) -> float:
        """The one of a validation's scores that checkpoints are chosen by."""
        return scores[f"val/{self.config.training.metric}"]


@dataclass
class State:
    """What a resumed run needs to know. best: [score, step] of the kept checkpoints, best first."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How training ended. diverged: the loss was not finite as a row was due, and training ended there.

    averaged: how many checkpoints the model is the mean of; 0: it is the last weights. validated: the metric on
    validation of the best checkpoint (`val_best`) and of the mean (`val_mean`), as far as they were measured.
    stopped: job.stop ended it, after the validation with these scores; no weights are kept then.
    """

    steps: int
    tokens: int
    seconds: float
    averaged: int
    diverged: bool
    stopped: dict[str, float] | None = None
    validated: dict[str, float] = field(default_factory=dict)
