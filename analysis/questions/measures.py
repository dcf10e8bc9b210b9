"""What the paper's claims are about, measured per seed: seed -> one number, for one arm of a study.

A seed whose run lacks the rows or arrays, or has none that are finite, is absent.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from analysis.load import EXTREME, STEP, StudyResults

Seeds = dict[int, float]
EDGE = 0.2
"""Share of the types, by frequency, that counts as frequent and as rare."""


def variance(study: StudyResults, arm: str, first: bool = False) -> Seeds:
    """Half the squared distance of two types' z_0 of mean norm at the mean angle: norm^2 (1 - cosine).

    Of the types of targets. It falls when embeddings shrink and when they turn towards each other. At the last row of
    training that has it, or at the first. In units of the noise's variance per dimension, for F = 1.
    """
    needed = ["diag/norm_mean", "diag/cosine"]
    if not {*needed, STEP} <= set(study.metrics):
        return {}
    rows = study.metrics[study.metrics["arm"] == arm].dropna(subset=needed).sort_values(STEP)
    groups = rows.groupby("seed")
    ends = groups.first() if first else groups.last()
    values = ends["diag/norm_mean"] ** 2 * (1 - ends["diag/cosine"])
    return _finite((seed, value) for seed, value in values.items() if value > 0)


def variance_share(study: StudyResults, arm: str) -> Seeds:
    """Variance of the embeddings at the end of training, as a share of that at its start."""
    start, end = variance(study, arm, first=True), variance(study, arm)
    return {seed: end[seed] / start[seed] for seed in sorted(start.keys() & end.keys())}


def late_mean(study: StudyResults, arm: str, column: str) -> Seeds:
    """Mean of a column of metrics.jsonl over the last quarter of the rows of training that have it."""
    if not {column, STEP} <= set(study.metrics):
        return {}
    rows = study.metrics[(study.metrics["arm"] == arm) & ~study.metrics[EXTREME].astype(bool)]
    rows = rows.dropna(subset=[column]).sort_values(STEP)
    return _finite((seed, g[column].tail(max(1, len(g) // 4)).mean()) for seed, g in rows.groupby("seed"))


def error_ratio(study: StudyResults, arm: str, other: str) -> Seeds:
    """Denoising error (MSE) of an arm over another's, late in training; 1 where it is lower for no bad reason.

    A small error is hollow if the predictions z_0_hat tell less of the tokens (a higher -log p): the embeddings then
    have lost what there was to predict. As the loss sees it: weighted by how often tokens occur, whatever the way of
    collapsing (all embeddings short, or all alike), rare types that training hardly reaches left aside.
    """
    error, nll = ([late_mean(study, name, f"train/{what}") for name in (arm, other)] for what in ("mse", "nll"))
    seeds = set.intersection(*(set(each) for each in (*error, *nll)))
    hollow = {seed: nll[0][seed] > nll[1][seed] or error[0][seed] > error[1][seed] for seed in seeds}
    ratio = {seed: error[0][seed] / error[1][seed] if hollow[seed] else 1.0 for seed in seeds if error[1][seed] > 0}
    return _finite((seed, value) for seed, value in ratio.items() if value > 0)


def frequent_to_rare(study: StudyResults, arm: str) -> Seeds:
    """Median norm of z_0 of the most frequent fifth of the types over that of the rarest (types of targets)."""
    return _finite((seed, _edge_ratio(probes)) for seed, probes in _probes(study, arm, "frequency", "norm"))


def _edge_ratio(probes: dict[str, np.ndarray]) -> float:
    frequency, norm = probes["frequency"].astype(float), probes["norm"].astype(float)
    if frequency.shape != norm.shape:
        return math.nan
    seen = (frequency > 0) & np.isfinite(norm)
    ordered = norm[seen][np.argsort(-frequency[seen], kind="stable")]
    size = int(EDGE * len(ordered))
    if size < 5 or not np.median(ordered[-size:]) > 0:
        return math.nan
    return float(np.median(ordered[:size]) / np.median(ordered[-size:]))


def recovery(study: StudyResults, arm: str) -> Seeds:
    """Share of tokens, in percent, that the embedding nearest to z_t gives away: mean over the first half of the t."""
    return _finite((seed, 100 * _first_half(p["t"], p["nearest"])) for seed, p in _probes(study, arm, "t", "nearest"))


def _first_half(t: np.ndarray, values: np.ndarray) -> float:
    if t.shape != values.shape or not t.size:
        return math.nan
    inside = np.isfinite(values) & (t <= t.max() / 2)
    return float(values[inside].mean()) if inside.any() else math.nan


def one_shot_drop(study: StudyResults, arm: str) -> Seeds:
    """BLEU of the one-shot prediction from pure noise when notes the largest t, minus BLEU when notes the smallest."""
    return _finite((seed, _drop(p["fig5_t"], p["oneshot_bleu"])) for seed, p in _probes(study, arm, *ONE_SHOT))


ONE_SHOT = ("fig5_t", "oneshot_bleu")


def _drop(t: np.ndarray, values: np.ndarray) -> float:
    if t.shape != values.shape or t.size < 2:
        return math.nan
    return float(values[t.argmax()] - values[t.argmin()])


def bleu_at(study: StudyResults, arm: str, steps: int) -> Seeds:
    """BLEU with that many decoding steps (by_steps of scores.json; on part of the test set)."""
    rows = study.steps[(study.steps["arm"] == arm) & (study.steps["steps"] == steps)]
    return _finite(zip(rows["seed"], rows["bleu"], strict=True))


def step_counts(study: StudyResults, arm: str) -> list[int]:
    """The numbers of decoding steps that `bleu_at` knows, rising."""
    counts = study.steps.loc[study.steps["arm"] == arm].dropna(subset=["steps", "bleu"])["steps"]
    return sorted({int(steps) for steps in counts})


def _probes(study: StudyResults, arm: str, *names: str) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Seed and arrays of the arm's runs that have all of these arrays."""
    rows: pd.DataFrame = study.scores[study.scores["arm"] == arm]
    for run, seed in zip(rows["run"], rows["seed"], strict=True):
        probes = study.probes.get(run, {})
        if all(name in probes for name in names):
            yield int(seed), probes


def _finite(pairs: Iterable[tuple[int, float]]) -> Seeds:
    return {int(seed): float(value) for seed, value in sorted(pairs) if math.isfinite(value)}
