"""Statistics of a study: intervals over seeds, paired differences, factorial effects, corrections, verdicts.

Pure functions on numpy arrays. Two intervals for a mean over seeds:

- `mean_interval_t`, the default everywhere: Student's t. With the two to five seeds a study can afford it is wide, and
  that is right: it has its nominal coverage if the seeds scatter normally.
- `mean_interval_bootstrap`: the percentile bootstrap. It cannot look beyond the observed values and undercovers with
  few seeds (at two seeds a nominal 95% interval is the range of the two values: it covers the mean half of the time).

One seed has no spread: its interval is undefined (NaN), never a guess.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtr, stdtrit

Verdict = Literal["helps", "hurts", "undecided"]
Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Interval:
    """An estimate from n values with the bounds of its interval (NaN where undefined)."""

    estimate: float
    low: float
    high: float
    n: int
    level: float = 0.95

    @property
    def defined(self) -> bool:
        """Whether there is an interval at all (two values at least)."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def mean_interval_t(values: Values, level: float = 0.95) -> Interval:
    """Mean with its t interval, mean +- t_(n-1) s / sqrt(n); undefined below two values."""
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0, level)
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, math.nan, math.nan, 1, level)
    half = critical(level, x.size - 1) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return Interval(mean, mean - half, mean + half, x.size, level)


def mean_interval_bootstrap(values: Values, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Mean with its percentile bootstrap interval (fixed seed: the same every time); undefined below two values."""
    x = np.asarray(values, dtype=float)
    if x.size < 2:
        return mean_interval_t(x, level)
    means = x[np.random.default_rng(seed).integers(0, x.size, (resamples, x.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(x.mean()), float(low), float(high), x.size, level)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> np.ndarray:
    """a - b for the seeds both have, by rising seed."""
    return np.array([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())], dtype=float)


def t_pvalue(differences: Values) -> float:
    """Two-sided p of the one-sample t test against 0; NaN below two values."""
    x = np.asarray(differences, dtype=float)
    if x.size < 2:
        return math.nan
    spread = float(x.std(ddof=1)) / math.sqrt(x.size)
    if spread == 0:  # equal differences are no evidence of a spread of zero
        return 1.0 if x.mean() == 0 else math.nan
    return two_sided_p(float(x.mean()) / spread, x.size - 1)


def sign_pvalue(differences: Values) -> float:
    """Two-sided p of the exact sign test (zeros left out); NaN without a value.

    It assumes nothing about the spread and therefore cannot fall below 2 / 2^n: 0.5 at two seeds, 0.0625 at five.
    """
    x = np.asarray(differences, dtype=float)
    if x.size == 0:
        return math.nan
    n, fewer = int((x != 0).sum()), int(min((x > 0).sum(), (x < 0).sum()))
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    return min(1.0, 2 * tail)


def holm(pvalues: Values) -> np.ndarray:
    """Holm's step-down adjustment, in the order given; NaN stays NaN and does not count as a comparison."""
    p = np.asarray(pvalues, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * float(p[i])))
        adjusted[i] = largest
    return adjusted


def verdict(interval: Interval, margin: float = 0.0, p_adjusted: float | None = None) -> Verdict:
    """What the interval of a difference allows to say about a change, and nothing more.

    "helps" if all of it lies above margin, "hurts" if all lies below -margin, else "undecided"; also undecided if the
    interval is undefined, or if an adjusted p-value is given and is above 1 - level.
    """
    if not interval.defined or (p_adjusted is not None and not p_adjusted <= 1 - interval.level + 1e-12):
        return "undecided"
    if interval.low > margin:
        return "helps"
    return "hurts" if interval.high < -margin else "undecided"


@dataclass(frozen=True)
class Effect:
    """A main effect (one axis) or interaction (several axes) of a two-level factorial.

    per_seed: the contrast of each seed [n]. interval: t over those, n - 1 degrees of freedom. pooled: with the
    residual variance of all contrasts together (score = arm + seed + residual), (2^k - 1)(n - 1) degrees of freedom:
    narrower, but it assumes that residuals scatter alike in all arms. p and p_pooled belong to these two.
    """

    axes: tuple[int, ...]
    per_seed: np.ndarray
    interval: Interval
    pooled: Interval
    p: float
    p_pooled: float


def contrast(cells: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Yates contrast of each seed: cells [n, 2, ..., 2] (index 1 = on) -> [n].

    For one axis it is mean(on) - mean(off); for two, half the difference between the effect of one factor with the
    other on and with it off; and so on (Box, Hunter and Hunter, Statistics for Experimenters, chapter 5).
    """
    k = cells.ndim - 1
    signs = np.ones((2,) * k)
    for axis in axes:
        signs = signs * np.array([-1.0, 1.0]).reshape([2 if i == axis else 1 for i in range(k)])
    return (cells * signs).reshape(len(cells), -1).sum(axis=1) / 2 ** (k - 1)


def pooled_variance(cells: np.ndarray) -> float:
    """Residual mean square of score = arm + seed, cells [n, 2, ..., 2]; NaN below two seeds."""
    y = cells.reshape(len(cells), -1)
    n, arms = y.shape
    if n < 2:
        return math.nan
    residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0, keepdims=True) + y.mean()
    return float((residual**2).sum()) / ((arms - 1) * (n - 1))


def factorial_effects(cells: np.ndarray, level: float = 0.95) -> list[Effect]:
    """All main effects, then the interactions by rising order, of cells [n seeds, 2, ..., 2] (index 1 = on)."""
    n, k = len(cells), cells.ndim - 1
    error = math.sqrt(4 * pooled_variance(cells) / (n * 2**k)) if n > 1 else math.nan
    df = (2**k - 1) * (n - 1)
    half = critical(level, df) * error if n > 1 else math.nan
    effects = []
    for order in range(1, k + 1):
        for axes in itertools.combinations(range(k), order):
            x = contrast(cells, axes)
            mean = float(x.mean())
            pooled = Interval(mean, mean - half, mean + half, n, level)
            p = two_sided_p(mean / error, df) if error > 0 else math.nan
            effects.append(Effect(axes, x, mean_interval_t(x, level), pooled, t_pvalue(x), p))
    return effects


@dataclass(frozen=True)
class SentenceComparison:
    """Score of a minus score of b on one test set, its bootstrap interval over sentences, and a two-sided p."""

    interval: Interval
    p: float


def _total(statistics: np.ndarray) -> np.ndarray:
    return statistics[..., 0] / statistics[..., 1]


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray] = _total,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> SentenceComparison:
    """Compare two systems on the same sentences by resampling the sentences together (Koehn, EMNLP 2004).

    a, b: statistics of each sentence, [sentences] for a mean of sentence scores, or [sentences, m] for a corpus
    score: `score` then maps summed statistics [..., m] to the score [...] (for BLEU: n-gram counts and lengths).
    The interval is the percentile interval; it speaks of this test set and this seed only, not of other seeds.
    """
    if a.shape != b.shape or len(a) < 2:
        raise ValueError(f"two equally long sets of at least 2 sentences needed, got {a.shape} and {b.shape}")
    if a.ndim == 1:
        a, b = (np.stack([x, np.ones_like(x)], axis=1).astype(float) for x in (a, b))
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=resamples).astype(float)
    observed = float(score(a.sum(axis=0)) - score(b.sum(axis=0)))
    differences = score(weights @ a) - score(weights @ b)
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return SentenceComparison(Interval(observed, float(low), float(high), len(a), level), p)


def seeds_to_separate(differences: Values, level: float = 0.95, power: float = 0.8, limit: int = 1000) -> int | None:
    """Seeds with which a paired t test would find a difference of this size with this probability.

    The smallest n with sqrt(n) |mean| / s >= t_(n-1)(level) + t_(n-1)(power); None if it is above limit, or if
    the spread is unknown (below two seeds). The observed mean and spread are themselves uncertain: an orientation.
    """
    x = np.asarray(differences, dtype=float)
    if x.size < 2:
        return None
    spread, mean = float(x.std(ddof=1)), abs(float(x.mean()))
    if mean == 0:
        return None
    n = np.arange(2, limit + 1)
    enough = np.sqrt(n) * mean >= spread * (critical(level, n - 1) + critical(2 * power - 1, n - 1))
    return int(n[enough.argmax()]) if enough.any() else None


def critical(level: float, df: Any) -> Any:
    """The t with P(|T| <= t) = level for Student's T, for one or many degrees of freedom."""
    return stdtrit(df, (1 + level) / 2)


def two_sided_p(t: float, df: int) -> float:
    """P(|T| >= t): the two-sided p-value of the statistic t."""
    return float(2 * stdtr(df, -abs(t)))
