"""Options of a search: those of a sweep, and how far to search."""

from dataclasses import dataclass
from typing import Literal

from core.errors import UserError
from sweeps.running.options import SweepOptions, positive
from sweeps.running.trials import LARGEST_SEED
from sweeps.tuning.points import WILCOXON_SEEDS
from sweeps.tuning.rounds import DIRECTIONS
from sweeps.wb import sweep_file

DEFAULT_BUDGET = "30m"
MOST = {"trials": 100_000, "trial_seeds": 1000}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class SearchOptions(SweepOptions):
    """Options of a search: those of a sweep, and how far to search."""

    budget: str | None = None
    """Wall-clock time for the search of all arms together, such as 90s, 30m or 4h; the comparison comes on top. none =
    30m, or as --trials says."""
    trials: int | None = None
    """Trainings per arm, instead of a time; with --budget, at most so many."""
    trial_seeds: int = 2
    """Seeds of each trial; its value is their mean."""
    decodings: int = 2
    """Decodings of the arm's best model that each round tries after its training."""
    pruner: Literal["auto", "median", "wilcoxon", "none"] = "auto"
    """median: end a training that is behind the median of its arm's. wilcoxon: across seeds, against the arm's best
    trial (signed ranks; needs --trial-seeds 5). auto: median; with two objectives none, which cannot be pruned."""
    objectives: str = "score"
    """score; or score,time: validation score against CPU time of decoding a sentence."""
    search_seed: int = 0
    """Seed of the points that are tried."""
    compare: bool = True
    """Run the comparison after the search."""


def check(options: SearchOptions) -> None:
    """Raises UserError for a number that no search can have."""
    for name in ("trials", "trial_seeds"):
        if (value := getattr(options, name)) is not None:
            positive(name.replace("_", "-"), value, MOST[name])
    if options.decodings < 0:
        raise UserError(f"--decodings {options.decodings}: must not be negative")
    if not 0 <= options.search_seed <= LARGEST_SEED:
        raise UserError(f"--search-seed {options.search_seed}: must lie between 0 and {LARGEST_SEED}")
    if sweep_file.is_one(options.study):
        raise UserError(f"--study {options.study}: a search tunes a study by its name; for a file use sweeps.agent")


def objectives_of(text: str) -> tuple[str, ...]:
    """'score,time' -> ('score', 'time'). Raises UserError for anything but score, alone or first."""
    names = tuple(name.strip() for name in text.split(","))
    if names not in (("score",), tuple(DIRECTIONS)):
        raise UserError(f"--objectives {text}: use score, or score,time")
    return names


def pruner_of(options: SearchOptions, objectives: tuple[str, ...]) -> str:
    """The pruner. Raises UserError for one that could never prune."""
    if len(objectives) > 1:
        if options.pruner not in ("auto", "none"):
            raise UserError(f"--pruner {options.pruner}: two objectives cannot be pruned; use --pruner none")
        return "none"
    if options.pruner == "wilcoxon" and options.trial_seeds < WILCOXON_SEEDS:
        raise UserError(
            f"--pruner wilcoxon: with {options.trial_seeds} seeds a trial its test cannot decide before the last one; "
            f"use --trial-seeds {WILCOXON_SEEDS} or more, or --pruner median"
        )
    return "median" if options.pruner == "auto" else options.pruner


def budget_of(options: SearchOptions) -> float | None:
    """The budget in seconds; none where only trials are counted. Raises UserError for what is no time."""
    given = options.budget or (DEFAULT_BUDGET if options.trials is None else None)
    if given is None:
        return None
    try:
        seconds = float(given[:-1]) * UNITS[given[-1]]
    except (KeyError, ValueError):
        raise UserError(f"--budget {given}: give a number and s, m, h or d, such as 30m") from None
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {given}: must be above 0")
    return seconds
