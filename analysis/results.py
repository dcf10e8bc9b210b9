"""The numbers behind the tables and the ablation figure: arms, factorial effects, differences to the control.

Frames in full precision; analysis.tables formats them, analysis.figures.ablation draws them.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.judging import HUNDRED, NO_VERDICT
from analysis.load import StudyResults
from analysis.power import seeds_to_separate
from analysis.stats import (
    Interval,
    Values,
    factorial_effects,
    holm,
    mean_interval_bootstrap,
    mean_interval_studentized,
    mean_interval_t,
    no_spread,
    paired,
    sign_pvalue,
    t_pvalue,
    verdict,
)

NAMES = {"bleu": "BLEU", "chrf": "chrF", "rougeL": "ROUGE-L"}

OTHER_SCORES = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "rougeL": "ROUGE-L",
    "brevity_penalty": "BP",
    "length_ratio": "length ratio",
    "cost/decode_sentences_per_cpu_s": "sentences per CPU-s",
}
"""Columns of `StudyResults.scores` that stand beside the study's metric, with their names in the table."""
NETWORK = {
    "network_calls": "network calls",
    "cost/parameters": "parameters",
    "cost/train_tokens_per_s": "training tokens/s",
}
"""The same for arms that differ in their networks, or in how often they call them."""
OWN, OWN_SIGNATURE = "own/", "own_signature/"
"""Begin the names of scores that `make rescore` made by functions of the user's, which stand there too, and of those
functions."""
INTERACTION = {"helps": "reinforce", "hurts": "overlap", "undecided": "undecided"}
"""An interaction neither helps nor hurts: above zero the factors do more together, below zero less."""

SHORT = {"anchor_loss": "anchor", "embedding_norm": "norm", "noise_factor": "F", "token_loss": "token loss"}
"""Names of factors where room is short."""


def metric_name(study: StudyResults) -> str:
    """The study's metric as it is written."""
    return NAMES.get(study.metric, study.metric.removeprefix(OWN))


def other_scores(study: StudyResults) -> dict[str, str]:
    """The columns beside the study's metric, and their names."""
    own = [str(column) for column in study.scores.columns if str(column).startswith(OWN)]
    shown = OTHER_SCORES | network_columns(study) | {name: name.removeprefix(OWN) for name in own}
    return {column: name for column, name in shown.items() if column != study.metric}


def network_columns(study: StudyResults) -> dict[str, str]:
    """Those of NETWORK in which arms differ; what training costs, where networks do."""
    differ = {name for name in NETWORK if name in study.scores and study.scores[name].nunique() > 1}
    asked = {"network_calls", *(NETWORK if "cost/parameters" in differ else ())}
    return {name: text for name, text in NETWORK.items() if name in differ & asked}


def seeds_text(study: StudyResults) -> str:
    """ "3 seeds", "2-3 seeds" or "1 seed": how many results the arms have."""
    counts = sorted({len(study.values(study.metric, arm.name)) for arm in study.arms})
    if counts[-1] == 1:
        return "1 seed"
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]}-{counts[-1]} seeds"


def score_digits(study: StudyResults) -> int:
    """Decimals that scores of the study's metric are written with: one from 0 to 100, more of smaller scores."""
    if study.metric in HUNDRED or study.metric not in study.scores:
        return 1
    largest = float(pd.to_numeric(study.scores[study.metric], errors="coerce").abs().max())
    return 1 if largest >= 10 else 2 if largest >= 2 else 3


def short(factor: str) -> str:
    """A factor in a few letters."""
    return SHORT.get(factor, factor.replace("_", " "))


def level_text(study: StudyResults, factor: str, level: Any) -> str:
    """A factor at a level in a few letters: the part of the names of arms that says it ("rounding", "F4").

    Where names are not made of a part for each factor: "anchor", "no anchor", "F = 4".
    """
    at = list(study.factors).index(factor)
    parts = {arm.name: arm.label.split(" · ") for arm in study.arms}
    if {len(each) for each in parts.values()} == {len(study.factors)}:
        found = {parts[arm.name][at] for arm in study.arms if arm.toggles.get(factor) == level}
        if len(found) == 1:
            return found.pop()
    name = short(factor)
    if isinstance(level, bool):
        return name if level else f"no {name}"
    return f"{name} = {level:g}" if isinstance(level, int | float) else f"{name}: {level}"


def toggle_text(level: Any) -> str:
    """A level as a check mark, a dash, or its value."""
    if isinstance(level, bool):
        return "✓" if level else "–"
    return f"{level:g}" if isinstance(level, int | float) else "–" if level is None else str(level)


def effect_name(study: StudyResults, effect: str) -> str:
    """ "anchor loss" or "noise factor 4 vs 1" for a main effect, "anchor × F" for an interaction."""
    names = effect.split(" x ")
    if len(names) > 1:
        return " × ".join(short(name) for name in names)
    name, on = effect.replace("_", " "), on_levels(study)[effect]
    if isinstance(on, bool):
        return name
    off = next(level for level in study.factors[effect] if level != on)
    return f"{name} {toggle_text(on)} vs {toggle_text(off)}"


def comparison_name(study: StudyResults, row: "pd.Series[Any]") -> str:
    """A row of `comparisons` as it is written in tables."""
    return effect_name(study, row["effect"]) if "order" in row else str(row["effect"]).replace(" - ", " − ")


def interval_columns(prefix: str, interval: Interval) -> dict[str, float]:
    """The three columns of an interval."""
    return {prefix: interval.estimate, f"{prefix}_low": interval.low, f"{prefix}_high": interval.high}


def mean_columns(prefix: str, values: Values) -> dict[str, Any]:
    """The columns of a mean over seeds: estimate, t interval, and the values themselves, as text."""
    listed = " ".join(repr(float(value)) for value in values)
    return interval_columns(prefix, mean_interval_t(values)) | {f"{prefix}_values": listed}


def values_of(row: "Mapping[str, Any] | pd.Series[Any]", prefix: str) -> list[float]:
    """The values that a mean is of, where a row has them."""
    listed = row.get(f"{prefix}_values")
    return [float(each) for each in listed.split()] if isinstance(listed, str) else []


def ablation(study: StudyResults) -> pd.DataFrame:
    """A row per arm: toggles, seeds, the metric with both intervals, other scores, difference to the control."""
    rows = []
    for arm in study.arms:
        values = study.values(study.metric, arm.name)
        scores = list(values.values())
        row: dict[str, Any] = {"arm": arm.name, "label": arm.label}
        row |= {f"toggle/{factor}": arm.toggles.get(factor) for factor in study.factors}
        row |= {"n_seeds": len(values), "seeds": " ".join(str(seed) for seed in values)}
        row |= mean_columns(study.metric, scores)
        row |= _bootstraps(scores)
        row |= {column: _mean(study, column, arm.name) for column in other_scores(study)}
        row["outcomes"] = _outcomes(study, arm.name)
        rows.append(row | (_difference(study, arm.name, study.control) if study.control else {}))
    return pd.DataFrame(rows)


def _bootstraps(values: Values) -> dict[str, float]:
    """Bounds of the two bootstrap intervals, beside those of t."""
    pairs = (("bootstrap", mean_interval_bootstrap(values)), ("studentized", mean_interval_studentized(values)))
    return {f"{name}_{end}": getattr(each, end) for name, each in pairs for end in ("low", "high")}


def _mean(study: StudyResults, column: str, arm: str) -> float:
    values = list(study.values(column, arm).values())
    return float(np.mean(values)) if values else math.nan


def _outcomes(study: StudyResults, arm: str) -> str:
    """'' if all results of an arm are ok, else such as '1 diverged'."""
    outcomes = study.scores.loc[study.scores["arm"] == arm, "outcome"]
    counts = outcomes[outcomes != "ok"].value_counts().sort_index()
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def _difference(study: StudyResults, arm: str, control: str) -> dict[str, Any]:
    """Columns of an arm's difference to the control, paired by seed; NaN for the control itself."""
    if arm == control:
        return mean_columns("difference", []) | {"difference_n": 0, "p": math.nan}
    x = paired(study.values(study.metric, arm), study.values(study.metric, control))
    return mean_columns("difference", x) | {"difference_n": x.size, "p": t_pvalue(x)}


def differences(study: StudyResults) -> pd.DataFrame:
    """A row per arm but the control: paired difference, interval, p (raw, sign test, Holm), verdict, seeds needed.

    Empty without a control or without a second arm.
    """
    control = study.control
    others = [arm for arm in study.arms if control and arm.name != control]
    rows = []
    for arm in others:
        x = paired(study.values(study.metric, arm.name), study.values(study.metric, str(control)))
        row = {"effect": f"{arm.label} - {study.arm(str(control)).label}", "arm": arm.name, "kind": "difference"}
        rows.append(row | _tested(x) | {"_x": x})
    return judged(_finish(rows), study.no_verdict)


def effects(study: StudyResults) -> pd.DataFrame:
    """A row per main effect and interaction of a complete two-level factorial; empty if the study is none.

    Only seeds that have a result in all arms count. Holm's correction is made twice: for the main effects, which are
    the study's questions, and for the interactions. pooled_*: with the pooled residual variance (`stats.Effect`).
    """
    cells, seeds = factorial_cells(study)
    return judged(effects_of(cells, list(study.factors)), study.no_verdict) if len(seeds) else pd.DataFrame()


def effects_of(cells: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """The same for scores [n seeds, 2, ..., 2] (index 1 = on), or for differences of scores."""
    rows = []
    for effect in factorial_effects(cells):
        label = " x ".join(names[axis] for axis in effect.axes)
        row = {"effect": label, "order": len(effect.axes), "kind": "interaction" if len(effect.axes) > 1 else "main"}
        pooled = {"pooled_low": effect.pooled.low, "pooled_high": effect.pooled.high, "pooled_p": effect.p_pooled}
        rows.append(row | _tested(effect.per_seed) | pooled | {"_x": effect.per_seed, "_pooled": effect.pooled})
    split = len(names)
    return pd.concat([_finish(rows[:split]), _finish(rows[split:])], ignore_index=True)


def comparisons(study: StudyResults) -> pd.DataFrame:
    """The effects of a factorial, else the differences to the control: what a study's conclusions rest on."""
    found = effects(study)
    return found if len(found) else differences(study)


def _tested(x: np.ndarray) -> dict[str, Any]:
    """Estimate, interval and p-values of differences x, one per seed."""
    columns = mean_columns("estimate", x) | _bootstraps(x)
    spread = (0.0 if no_spread(x) else float(x.std(ddof=1))) if x.size > 1 else math.nan
    return columns | {"n_seeds": x.size, "sd": spread, "p": t_pvalue(x), "p_sign": sign_pvalue(x)}


def _finish(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Add what needs the whole family of comparisons (Holm) or rests on it (verdicts, seeds needed)."""
    for p, holm_p, name in (("p", "p_holm", "verdict"), ("pooled_p", "pooled_p_holm", "pooled_verdict")):
        tested = [row for row in rows if p in row]
        for row, adjusted in zip(tested, holm([row[p] for row in tested]), strict=True):
            interval = mean_interval_t(row["_x"]) if p == "p" else row["_pooled"]
            said = verdict(interval, p_adjusted=float(adjusted))
            row[holm_p] = float(adjusted)
            row[name] = INTERACTION[said] if row["kind"] == "interaction" else said
    for row in rows:
        needed = seeds_to_separate(row["_x"], level=1 - 0.05 / len(rows)) if row["verdict"] == "undecided" else None
        row["seeds_needed"] = math.nan if needed is None else float(needed)
    return pd.DataFrame(rows).drop(columns=["_x", "_pooled"], errors="ignore")


def judged(frame: pd.DataFrame, no_verdict: str) -> pd.DataFrame:
    """The comparisons without verdicts, and without the seeds that would give one, where there can be none."""
    if not no_verdict or frame.empty:
        return frame
    verdicts = {str(column): NO_VERDICT for column in frame if str(column).removeprefix("pooled_") == "verdict"}
    return frame.assign(**verdicts, **({"seeds_needed": math.nan} if "seeds_needed" in frame else {}))


def on_level(levels: list[Any], control: Any) -> Any:
    """Which of two levels counts as "on": true, the larger number, anything but "none", else the control's."""
    if set(map(type, levels)) == {bool}:
        return True
    if all(isinstance(level, int | float) for level in levels):
        return max(levels)
    named = [level for level in levels if level not in ("none", None, False)]
    return named[0] if len(named) == 1 else (control if control in levels else levels[-1])


def on_levels(study: StudyResults) -> dict[str, Any]:
    """The "on" level of each factor."""
    control = study.arm(study.control).toggles if study.control else {}
    return {name: on_level(levels, control.get(name)) for name, levels in study.factors.items()}


def is_factorial(study: StudyResults) -> bool:
    """Whether the arms with results are all 2^k combinations of k >= 2 two-level factors."""
    levels = list(study.factors.values())
    if len(levels) < 2 or any(len(each) != 2 for each in levels):
        return False
    present = [tuple(arm.toggles.get(name) for name in study.factors) for arm in study.arms]
    combinations = list(itertools.product(*levels))
    return len(present) == len(combinations) and all(each in present for each in combinations)


def factorial_cells(study: StudyResults) -> tuple[np.ndarray, list[int]]:
    """Scores [n, 2, ..., 2] (index 1 = on) of the n seeds with a result in all arms, and those seeds."""
    if not is_factorial(study):
        return np.zeros(0), []
    on, k = on_levels(study), len(study.factors)
    values = {arm.name: study.values(study.metric, arm.name) for arm in study.arms}
    seeds = sorted(set.intersection(*[set(each) for each in values.values()]))
    cells = np.full((len(seeds), *(2,) * k), np.nan)
    for arm in study.arms:
        where: tuple[Any, ...] = tuple(int(arm.toggles[name] == on[name]) for name in study.factors)
        cells[(slice(None), *where)] = [values[arm.name][seed] for seed in seeds]
    return cells, seeds
