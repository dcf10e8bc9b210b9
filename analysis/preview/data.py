"""The metrics of a workspace, by the names they have in W&B, from the run folders."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.common import probe_curves
from analysis.load import STEP, Study

BANDS = ("rare", "middle", "frequent")
KEYS = ["arm", "label", "seed", "x", "value"]


def curves(study: Study, x: str, metric: str) -> pd.DataFrame:
    """arm, label, seed, x, value of a metric against its step metric; empty where a study has none."""
    name = metric.partition("/")[2]
    if x == STEP:
        frame = study.metrics.rename(columns={STEP: "x", metric: "value"})
    elif x == "per_step/t":
        frame = probe_curves(study, "t", {name: name}).rename(columns={"t": "x"})
    else:
        frame = study.steps.rename(columns={"steps": "x", name: "value"})
    if not {"x", "value"} <= set(frame.columns):
        return pd.DataFrame(columns=KEYS)
    return frame[KEYS].dropna(subset=["value"])


def summary(study: Study, name: str) -> pd.DataFrame:
    """arm, label, seed, value of a score or cost, by its name in W&B's summary."""
    column = name.removeprefix("test/")
    heads = study.scores[["arm", "label", "seed"]]
    if column not in study.scores:
        return heads.iloc[:0].assign(value=[])
    return heads.assign(value=pd.to_numeric(study.scores[column], errors="coerce")).dropna(subset=["value"])


def accessor(study: Study, name: str) -> pd.Series:
    """A column of numbers, one for each result: "summary:test/bleu", or "config:anchor_loss.value" (level by index)."""
    section, _, key = name.partition(":")
    if section == "summary":
        column = key.removeprefix("test/")
        return pd.to_numeric(study.scores.get(column, pd.Series(np.nan, study.scores.index)), errors="coerce")
    factor = key.removesuffix(".value")
    levels = ordered(study.factors.get(factor, []))
    return study.scores["arm"].map(lambda arm: _index(levels, study.arm(arm).toggles.get(factor)))


def ordered(levels: list[Any]) -> list[Any]:
    """Levels from below: false before true, numbers by size, names as they are."""
    plain = all(isinstance(level, int | float) for level in levels)
    return sorted(levels) if plain else list(levels)


def between(values: pd.Series, groups: pd.Series) -> float:
    """Share of the variance of values that lies between groups, in [0, 1]; 0 where nothing varies."""
    total = float(((values - values.mean()) ** 2).sum())
    inner = float(((values - values.groupby(groups).transform("mean")) ** 2).sum())
    return 1 - inner / total if total else 0.0


def _index(levels: list[Any], level: Any) -> float:
    return float(levels.index(level)) if level in levels else np.nan


def norms(study: Study, band: str) -> dict[str, np.ndarray]:
    """Arm -> the norms of its types (all seeds together): all, or the rare, middle or frequent third."""
    found: dict[str, list[np.ndarray]] = {}
    for record in study.scores[["run", "arm"]].to_dict("records"):
        probes = study.probes.get(record["run"], {})
        if "norm" in probes:
            found.setdefault(record["arm"], []).append(_third(probes, band))
    return {arm: np.concatenate(parts) for arm, parts in found.items()}


def _third(probes: dict[str, np.ndarray], band: str) -> np.ndarray:
    norm = probes["norm"]
    if band in BANDS and "frequency" in probes:
        order = np.argsort(probes["frequency"], kind="stable")
        norm = norm[np.array_split(order, len(BANDS))[BANDS.index(band)]]
    return norm[np.isfinite(norm)]
