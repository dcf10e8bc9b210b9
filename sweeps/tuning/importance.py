"""Importance of the options that were searched, by fANOVA: the share of the scores' variance that each accounts for.

Optuna's own default is another method (PED-ANOVA), which describes the best quantile of trials and can turn a ranking
round; so the evaluator is named, here and wherever its numbers are shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

SEED = 0
LEAST = 4
"""Fewest completed trials for which importance is computed; few more say little all the same."""
EVALUATOR = f"fANOVA (Optuna {optuna.__version__}, FanovaImportanceEvaluator, seed {SEED}), completed trials only"
ARM = "arm"


def importance(trials: Sequence[FrozenTrial], distributions: Mapping[str, BaseDistribution]) -> dict[str, float]:
    """Share of each option in the variance of the first objective, largest first; empty with too few trials."""
    return _shares([(trial.params, trial) for trial in trials], distributions)


def over_all(
    by_arm: Mapping[str, Sequence[FrozenTrial]], distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """The same over the trials of all arms together, the arm being one more option."""
    rows = [({**trial.params, ARM: arm}, trial) for arm, own in by_arm.items() for trial in own]
    arms = {ARM: CategoricalDistribution(list(by_arm))} if len(by_arm) > 1 else {}
    return _shares(rows, {**distributions, **arms})


def _shares(
    rows: Sequence[tuple[Mapping[str, Any], FrozenTrial]], distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    complete = [(params, trial.values[0]) for params, trial in rows if trial.state == TrialState.COMPLETE]
    if len(complete) < LEAST or len({value for _, value in complete}) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # scikit-learn: half a second

    study = optuna.create_study(direction="maximize")
    for params, value in complete:
        known = {name: params[name] for name in distributions}
        study.add_trial(create_trial(value=value, params=known, distributions=dict(distributions)))
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=SEED), params=list(distributions))
    return {name: float(share) for name, share in found.items()}
