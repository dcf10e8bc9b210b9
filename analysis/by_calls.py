"""A study that varies the network calls of a decoding beside something else, such as the sampler: what each number of
calls costs, and which arm is best at it.

Every pair of arms with equal calls is compared, paired by seed, and all pairs are corrected together (Holm). So it does
not matter that the best is picked by the scores that judge it: whichever had come out first, its comparisons are in.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.judging import NO_VERDICT
from analysis.levels import level_text
from analysis.load import StudyResults
from analysis.stats import Interval, holm, paired, t_pvalue, verdict
from analysis.tested import mean_columns

CALLS = "network_calls"
"""The factor: its levels are exact numbers of network calls."""


def varies_calls(study: StudyResults) -> bool:
    """Whether arms differ in network calls and in something else."""
    return CALLS in study.factors and len(study.factors) > 1


def kind_text(study: StudyResults, toggles: Mapping[str, Any]) -> str:
    """What an arm is but for its calls, such as "ddim"."""
    return " · ".join(level_text(study, name, toggles.get(name)) for name in study.factors if name != CALLS)


def cost_name(study: StudyResults) -> str:
    """The unit of `cost`: time of a CPU does not depend on what else it does."""
    return "CPU-ms" if _on_cpu(study) else "ms"


def cost(study: StudyResults) -> "pd.Series[float]":
    """Milliseconds of decoding per sentence, a value for each row of `StudyResults.scores`; NaN where unknown."""
    known = {name: pd.to_numeric(study.scores.get(name), errors="coerce") for name in COST if name in study.scores}
    if len(known) < len(COST):
        return pd.Series(np.nan, study.scores.index)
    seconds, rate, sentences = (known[name] for name in COST)
    return 1000 / rate if _on_cpu(study) else 1000 * seconds / sentences


COST = ("cost/decode_s", "cost/decode_sentences_per_cpu_s", "sentences")


def _on_cpu(study: StudyResults) -> bool:
    return all(str(record.get("device")).startswith("cpu") for record in study.records.values())


def pairs(study: StudyResults) -> pd.DataFrame:
    """A row per number of calls and pair of arms that have it: difference of the first to the second with interval, p,
    and p after Holm's correction among all pairs. Arms by falling mean."""
    rows = []
    for calls, arms in by_calls(study).items():
        for one, other in combinations(arms, 2):
            x = paired(study.values(study.metric, one), study.values(study.metric, other))
            names = {CALLS: calls, "arm": one, "other": other, "n_seeds": x.size}
            rows.append(names | mean_columns("difference", x) | {"p": t_pvalue(x)})
    adjusted = holm([row["p"] for row in rows])
    return pd.DataFrame([row | {"p_holm": float(p)} for row, p in zip(rows, adjusted, strict=True)])


def by_calls(study: StudyResults) -> dict[Any, list[str]]:
    """{calls: names of the arms that have them, the best mean first}, by rising calls."""
    found: dict[Any, list[str]] = {}
    means = {arm.name: float(np.mean(list(study.values(study.metric, arm.name).values()))) for arm in study.arms}
    for arm in sorted(study.arms, key=lambda arm: -means[arm.name]):
        found.setdefault(arm.toggles.get(CALLS), []).append(arm.name)
    return {calls: found[calls] for calls in study.factors[CALLS] if calls in found}


def best(study: StudyResults) -> pd.DataFrame:
    """A row per number of calls: the arm with the best mean, its score and cost, the difference to the second, and
    whether it is decided that it is the best. Empty where the study does not vary calls.

    verdict: "decided" if the whole interval of its difference to each other arm lies above 0, with a p after Holm's
    correction of at most 0.05; p_holm is the largest of them. open: the arms for which that is not so.
    """
    if not varies_calls(study):
        return pd.DataFrame()
    compared, spent, rows = pairs(study), cost(study), []
    for calls, (first, *others) in by_calls(study).items():
        if not others:
            continue
        own = compared[(compared[CALLS] == calls) & (compared["arm"] == first)]
        undecided = [row["other"] for row in own.to_dict("records") if _said(row) != "helps"]
        second = own.iloc[0]
        row = {CALLS: calls, "arm": first, "best": kind_text(study, study.arm(first).toggles)}
        row |= {"n_seeds": int(own["n_seeds"].min()), "cost": float(spent[study.scores["arm"] == first].mean())}
        row |= mean_columns(study.metric, list(study.values(study.metric, first).values()))
        row |= {"second": kind_text(study, study.arm(second["other"]).toggles)}
        row |= {str(name): second[name] for name in own if str(name).startswith("difference")}
        row |= {"p_holm": float(own["p_holm"].max(skipna=False)), "compared": int(compared["p"].notna().sum())}
        row["open"] = ", ".join(kind_text(study, study.arm(name).toggles) for name in undecided)
        decided = "undecided" if undecided else "decided"
        rows.append(row | {"verdict": NO_VERDICT if study.no_verdict else decided})
    return pd.DataFrame(rows)


def _said(row: Mapping[str, Any]) -> str:
    interval = Interval(row["difference"], row["difference_low"], row["difference_high"], row["n_seeds"])
    return verdict(interval, p_adjusted=row["p_holm"])
