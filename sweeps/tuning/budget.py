"""The budget of a search: whether it has room for another round of all arms."""

from sweeps.tuning.arm_trials import OVER, TRAINING, part
from sweeps.tuning.rounds import Search


def affordable(search: Search, rounds: int, spent: float) -> bool:
    """Whether one more round fits the budget, for all arms; the first one always is run.

    The time it will take is estimated from the trials so far, each arm's by its own.
    """
    if rounds == 0:
        return True
    if search.trials is not None and rounds >= search.trials:
        return False
    if search.budget is None:
        return search.trials is not None
    return spent + seconds_ahead(search, rounds) <= search.budget


def seconds_ahead(search: Search, rounds: int) -> float:
    """Seconds until the open rounds and one more will be over, by what the trials so far took."""
    each: dict[str, float] = {}
    through: dict[str, int] = {}
    for arm, trials in search.arm_trials.items():
        over = trials.read(*OVER)
        through[arm] = len(part(over, TRAINING))
        if through[arm]:
            each[arm] = sum(trial.user_attrs["seconds"] for trial in over) / through[arm]
    if not each:
        return float("inf")
    usual = sum(each.values()) / len(each)
    work = [(rounds + 1 - through[arm]) * each.get(arm, usual) for arm in through]
    abreast = len(search.seeds) if search.pruner == "none" else 1
    return max(sum(work) / search.workers, max(work) / min(abreast, search.workers))
