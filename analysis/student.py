"""Student's t distribution for whole degrees of freedom, in closed form.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4 (the finite trigonometric sums).
"""

import math


def central_probability(t: float, df: int) -> float:
    """P(|T| <= t) for df >= 1 whole degrees of freedom; absolute error about 1e-15."""
    if df < 1:
        raise ValueError(f"degrees of freedom must be at least 1, not {df}")
    if math.isinf(t):
        return 1.0
    angle = math.atan(abs(t) / math.sqrt(df))
    cos2 = math.cos(angle) ** 2
    odd = df % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = term if df > 1 else 0.0
    for k in range(3 if odd else 2, df - 1, 2):
        term *= cos2 * (k - 1) / k
        total += term
    total *= math.sin(angle)
    return min(2 / math.pi * (angle + total) if odd else total, 1.0)


def two_sided_p(t: float, df: int) -> float:
    """P(|T| >= t): the two-sided p-value of the statistic t."""
    return max(0.0, 1.0 - central_probability(t, df))


def critical(level: float, df: int) -> float:
    """The t with P(|T| <= t) = level, for 0 < level < 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    low, high = 0.0, 1.0
    while central_probability(high, df) < level:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if central_probability(middle, df) < level:
            low = middle
        else:
            high = middle
    return high
