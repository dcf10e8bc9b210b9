"""Which K of the T steps a sampler visits: one function each, (log-SNR of all steps [T], K) -> t, least noise first.

All but a single step, which stands at T-1, begin at 0 and end at T-1, and are distinct.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Spacing = Callable[[Array, int], tuple[int, ...]]


def uniform(log_snr: Array, K: int) -> tuple[int, ...]:
    """Evenly in t: round(k (T-1) / (K-1)), accumulated as the released sampler does (Gao et al. 2024)."""
    T = len(log_snr)
    if K == 1:
        return (T - 1,)
    position, steps = 0.0, []
    for _ in range(K):
        steps.append(round(position))
        position += (T - 1) / (K - 1)
    return tuple(steps)


def even_log_snr(log_snr: Array, K: int) -> tuple[int, ...]:
    """Evenly in log(signal^2 / noise^2), on the sampler's own schedule (Lu et al. 2022, section 4)."""
    wanted = np.linspace(log_snr[0], log_snr[-1], K)
    return _distinct(np.interp(-wanted, -log_snr, np.arange(len(log_snr))), len(log_snr))


def quadratic(log_snr: Array, K: int) -> tuple[int, ...]:
    """(k / (K-1))^2 (T-1): closest together where there is least noise (Song et al. 2021, appendix D.2)."""
    return _distinct(np.linspace(0.0, 1.0, K) ** 2 * (len(log_snr) - 1), len(log_snr))


def _distinct(positions: Array, T: int) -> tuple[int, ...]:
    """Rising positions rounded to steps, each at least one above the one before it."""
    K = len(positions)
    if K == 1:
        return (T - 1,)
    k = np.arange(K)
    steps = np.minimum(np.maximum.accumulate(np.rint(positions).astype(int) - k), T - K) + k
    return tuple(steps.tolist())


SPACINGS: dict[str, Spacing] = {"uniform": uniform, "log_snr": even_log_snr, "quadratic": quadratic}
