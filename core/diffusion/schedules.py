"""Noise schedules alpha_bar(u), u in [0, 1], and their discretisation (Gao et al. 2024; Nichol & Dhariwal 2021).

Each schedule the paper compares is one function of the same signature. NumPy in float64: the tables are made once
per run, and the running product over 2,000 steps is better not taken in float32.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RHO = 7.0
"""Exponent of the EDM noise levels (Karras et al. 2022, eq. 5)."""


def linear(u: Array) -> Array:
    """Variance-preserving SDE, beta from 0.1 to 20 (Song et al. 2021)."""
    return np.exp(-(20.0 - 0.1) / 2.0 * u**2 - 0.1 * u)


def cosine(u: Array) -> Array:
    """Squared cosine, offset 0.008 (Nichol & Dhariwal 2021, eq. 17)."""
    return np.cos((u + 0.008) / 1.008 * np.pi / 2.0) ** 2


def sqrt(u: Array) -> Array:
    """Square root, offset 1e-4: much noise from the start (Diffusion-LM, Li et al. 2022)."""
    return 1.0 - np.sqrt(u + 1e-4)


def _karras(u: Array, low: float, high: float) -> Array:
    """alpha_bar = 1 / (sigma(u)^2 + 1) with sigma from low to high."""
    s_low, s_high = low ** (1 / RHO), high ** (1 / RHO)
    return 1.0 / ((s_high + (1.0 - u) * (s_low - s_high)) ** (2.0 * RHO) + 1.0)


def edm(u: Array) -> Array:
    """EDM noise levels, sigma from 0.002 to 80."""
    return _karras(u, 0.002, 80.0)


def cdcd(u: Array) -> Array:
    """CDCD's range (Dieleman et al. 2022), sigma from 1 to 300."""
    return _karras(u, 1.0, 300.0)


SCHEDULES: dict[str, Callable[[Array], Array]] = {
    "linear": linear,
    "cosine": cosine,
    "sqrt": sqrt,
    "edm": edm,
    "cdcd": cdcd,
}


def variance_preserving(alpha_bar: Array, noise_factor: float) -> Array:
    """abar' = abar / (F^2 - (F^2 - 1) abar): the signal-to-noise ratio of F at unit total variance."""
    square = noise_factor**2
    return alpha_bar / (square - (square - 1.0) * alpha_bar)


def betas(schedule: str, steps: int, noise_factor: float = 1.0) -> Array:
    """beta_i = min(1 - abar((i + 1) / T) / abar(i / T), 0.999), shape [T].

    noise_factor other than 1 takes the variance-preserving form of the schedule.
    """
    u = np.arange(steps + 1, dtype=np.float64) / steps
    alpha_bar = variance_preserving(SCHEDULES[schedule](u), noise_factor)
    return np.minimum(1.0 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


def alpha_bars(schedule: str, steps: int, noise_factor: float = 1.0) -> Array:
    """Running product of 1 - beta_i, shape [T] (so the curve is renormalised by alpha_bar(0))."""
    return np.cumprod(1.0 - betas(schedule, steps, noise_factor), dtype=np.float64)
