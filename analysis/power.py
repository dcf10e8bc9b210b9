"""How many seeds separate arms: power of the paired t test over seeds, and the smallest effect that seeds can find."""

import math

import numpy as np
from scipy.special import gammaincinv, ndtr

from analysis.stats import ENDS, LEVEL, Values, critical, no_spread

POWER = 0.8
"""The probability with which a difference shall be found."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(300)


def power(n: int, effect: float, level: float = LEVEL) -> float:
    """Probability that a two-sided paired t test over n seeds finds a true difference of `effect` standard deviations.

    P(|T'| > t) for the noncentral T', as the mean of the normal probability over the distribution of s (300 nodes):
    scipy's and boost's own noncentral t fail in places that are needed here. NaN below two seeds.
    """
    if n < 2:
        return math.nan
    share = np.sqrt(gammaincinv((n - 1) / 2, (NODES + 1) / 2) * 2 / (n - 1))
    edge, shift = critical(level, n - 1) * share, effect * math.sqrt(n)
    return float(WEIGHTS @ (ndtr(shift - edge) + ndtr(-shift - edge)) / 2)


def detectable(n: int, level: float = LEVEL) -> float:
    """Smallest true difference, in standard deviations, that n seeds find with probability POWER; NaN below two."""
    if n < 2:
        return math.nan
    low, high = 0.0, 1.0
    while power(n, high, level) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if power(n, middle, level) < POWER else (low, middle)
    return high


def spread_factors(n: int) -> tuple[float, float]:
    """Between which multiples of the standard deviation of n normal values the true one lies; NaN below two."""
    if n < 2:
        return math.nan, math.nan
    low, high = (2 * float(gammaincinv((n - 1) / 2, q)) for q in ENDS)
    return math.sqrt((n - 1) / high), math.sqrt((n - 1) / low)


def seeds_to_separate(differences: Values, level: float = LEVEL, limit: int = 1000) -> int | None:
    """Seeds with which a paired t test would find a difference of this size with probability POWER.

    None if it is above limit, or if the spread is unknown (below two seeds, or all equal). The observed mean and spread
    are themselves uncertain: an orientation.
    """
    x = np.asarray(differences, dtype=float)
    if x.size < 2 or no_spread(x) or x.mean() == 0:
        return None
    effect = abs(float(x.mean())) / float(x.std(ddof=1))
    if power(limit, effect, level) < POWER:
        return None
    few, enough = 1, limit
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if power(middle, effect, level) >= POWER else (middle, enough)
    return enough
