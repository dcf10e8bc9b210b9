"""What a search may try for an option: a range of numbers, or a few levels.

A study's nuisance parameters are such ranges (studies.py); the Optuna search and the W&B sweep files are both made from
them, so that both try the same values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablations.factors import Level


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included. log: even on a logarithmic scale; whole: integers alone.

    relative: low and high are multiples of the value that the preset has, since a good learning rate or warm-up depends
    on the size of the model and the number of updates.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    relative: bool = False

    def around(self, default: float) -> "Range":
        """The range in absolute numbers, for an option whose default is known; whole bounds are rounded, at least 1."""
        if not self.relative:
            return self
        low, high = self.low * default, self.high * default
        if self.whole:
            low, high = max(1, round(low)), max(1, round(high))
        return Range(low, high, self.log, self.whole)


@dataclass(frozen=True)
class Levels:
    """Some levels of a factor (factors.py), or some values of an option."""

    levels: tuple[Level, ...]


Dimension = Range | Levels

NUISANCE: Mapping[str, Dimension] = {
    "lr": Range(0.25, 4.0, log=True, relative=True),
    "warmup": Range(0.25, 4.0, log=True, whole=True, relative=True),
    "dropout": Range(0.0, 0.3),
    "steps": Levels((5, 10, 20, 50)),
    "decoding_noise_factor": Range(0.25, 4.0, log=True),
}
"""What is tuned for each arm before arms are compared at their best, with the same budget; names of options or factors.

The learning rate and its warm-up, since the arms' losses differ in scale; dropout, since they overfit differently; K
(`steps`) and the sampler's noise factor, since an arm trained with F = 4 meets other z_t than one trained with F = 1.
"""


def absolute(dimensions: Mapping[str, Dimension], config: Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions in absolute numbers, for a run's flat configuration."""
    return {
        name: dimension.around(float(config[name])) if isinstance(dimension, Range) else dimension
        for name, dimension in dimensions.items()
    }
