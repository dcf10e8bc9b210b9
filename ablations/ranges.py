"""What a search may try for an option: a range of numbers, or a few levels.

A study's nuisance parameters are such ranges (studies.py); the Optuna search and the W&B sweep files are both made from
them, so that both try the same values.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ablations.factors import FACTORS, Level, options_of
from core.errors import UserError


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

    def __str__(self) -> str:
        """'0.001 to 0.016, logarithmic'."""
        return f"{self.low:g} to {self.high:g}" + ", whole" * self.whole + ", logarithmic" * self.log

    def around(self, default: float) -> "Range":
        """The range in absolute numbers, for an option whose default is known, and wide enough to hold it.

        Whole bounds are rounded, at least 1. Raises UserError where a logarithmic range would have to hold 0.
        """
        scale = default if self.relative else 1.0
        low, high = min(self.low * scale, default), max(self.high * scale, default)
        if self.whole:
            low, high = max(1, round(low)), max(1, round(high))
        if self.log and low <= 0:
            raise UserError(f"a default of {default:g} does not fit a logarithmic range; set one above 0")
        return Range(low, high, self.log, self.whole)

    def at(self, share: float) -> float:
        """The number that lies at a share (0 to 1) of the way from low to high, on the range's scale."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value


@dataclass(frozen=True)
class Levels:
    """Some levels of a factor (factors.py), or some values of an option."""

    levels: tuple[Level, ...]

    def __str__(self) -> str:
        """'5, 10 or 20'."""
        return " or ".join(filter(None, [", ".join(map(str, self.levels[:-1])), str(self.levels[-1])]))

    def at(self, share: float) -> Level:
        """The level at a share (0 to 1) of the way from the first to the last."""
        return self.levels[min(int(share * len(self.levels)), len(self.levels) - 1)]

    def around(self, default: Level) -> "Levels":
        """The levels, with a default in its place among them that is a number, as they are, and none of them."""
        if default in self.levels or not all(type(each) is type(default) is int for each in self.levels):
            return self
        return Levels(tuple(sorted((*self.levels, default))))


Dimension = Range | Levels

NUISANCE: Mapping[str, Dimension] = {
    "lr": Range(0.25, 4.0, log=True, relative=True),
    "warmup": Range(0.25, 4.0, log=True, whole=True, relative=True),
    "dropout": Range(0.0, 0.3),
    "steps": Levels((5, 10, 20, 50)),
    "decoding_noise_factor": Range(0.25, 4.0, log=True),
    "beam": Levels((1, 2, 5, 10)),
    "decoding_steps": Levels((5, 10, 20, 50)),
    "passes": Levels((4, 10, 20)),
}
"""What is tuned for each arm before arms are compared at their best, with the same budget; names of options or factors.
An arm's space is made of those that its method has (`within`).

Ranges are wide on purpose, and the same for all arms. The learning rate and its warm-up, since the arms' losses differ
in scale; dropout, since they overfit differently; K (`steps`, or `decoding_steps` where a method leaves out none of
them) and the sampler's noise factor, since an arm trained with F = 4 meets other z_t than one trained with F = 1; the
beam of what writes from left to right; the passes of what unmasks.
"""
OWN: Mapping[str, Dimension] = {
    "label_smoothing": Range(0.0, 0.2),
    "length_loss_factor": Range(0.1, 1.0, log=True),
    "clamping": Levels((False, True)),
    "restart_positions": Levels((False, True)),
    "form": Levels(("fairseq", "mask_predict")),
    "reweighting": Levels(("none", "linear")),
    "weighting": Levels(("bound", "none")),
    "clipping": Levels(("clipped", "clipped_s")),
}
"""What besides is tuned where methods are compared: choices that one of them leaves open, or that its released versions
differ in."""


def within(dimensions: Mapping[str, Dimension], config: Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions all of whose options a run's flat configuration has; no range of an option that is off (none).

    Of those that set the same option it is the first that can be at the configuration's value, or the first of all.
    """
    found: dict[str, Dimension] = {}
    for name, each in dimensions.items():
        if not options_set(name, each) <= config.keys() or (isinstance(each, Range) and config[name] is None):
            continue
        same = [other for other in found if options_set(other, found[other]) & options_set(name, each)]
        if any(_holds(other, found[other], config) for other in same) or (same and not _holds(name, each, config)):
            continue
        found = {other: dimension for other, dimension in found.items() if other not in same} | {name: each}
    return found


def _holds(name: str, dimension: Dimension, config: Mapping[str, Any]) -> bool:
    """Whether a dimension can be at the value that a configuration has."""
    if isinstance(dimension, Range):
        return True
    dimension = dimension if name in FACTORS else dimension.around(config[name])
    levels = (options_at(name, dimension, level) for level in dimension.levels)
    return any(all(config[option] == value for option, value in each.items()) for each in levels)


def absolute(dimensions: Mapping[str, Dimension], config: Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions in absolute numbers and with the default among them, for a run's flat configuration.

    Raises UserError naming the option whose default does not fit.
    """
    found: dict[str, Dimension] = {}
    for name, dimension in dimensions.items():
        try:
            if isinstance(dimension, Range):
                found[name] = dimension.around(float(config[name]))
            else:
                found[name] = dimension if name in FACTORS else dimension.around(config[name])
        except UserError as error:
            raise UserError(f"option {name}: {error}") from error
    return found


def options_at(name: str, dimension: Dimension, value: Any) -> dict[str, Any]:
    """The options that a value of a dimension sets: those of a factor's level, or the option of that name."""
    if isinstance(dimension, Levels) and name in FACTORS:
        return options_of({name: value})
    return {name: value}


def options_set(name: str, dimension: Dimension) -> frozenset[str]:
    """The options that a dimension sets."""
    value = dimension.levels[0] if isinstance(dimension, Levels) else dimension.low
    return frozenset(options_at(name, dimension, value))


def default_of(name: str, dimension: Dimension, config: Mapping[str, Any]) -> Any:
    """The value of a dimension that a flat configuration has.

    Raises UserError if it is none of the dimension's levels.
    """
    if isinstance(dimension, Range):
        return config[name]
    for level in dimension.levels:
        if all(config[option] == value for option, value in options_at(name, dimension, level).items()):
            return level
    levels = ", ".join(map(str, dimension.levels))
    raise UserError(f"option {name}: its default must be one of the levels that are searched ({levels})")


def without(dimensions: Mapping[str, Dimension], options: Iterable[str]) -> dict[str, Dimension]:
    """The dimensions that set none of these options, such as those that a study varies itself."""
    taken = set(options)
    return {name: each for name, each in dimensions.items() if not options_set(name, each) & taken}
