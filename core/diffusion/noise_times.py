"""The steps of a decoding whose times are continuous, and are the noise: z_t = sqrt(1 - t^2) z_0 + t eps (DINOISER).

A noise factor F and the variance-preserving form change the levels, as in core/diffusion/process.py; the network is
told t all the same. A schedule of the sampler's own says how t falls.
"""

import torch
from torch import Tensor

from core.checks import check_decoding, named_steps
from core.diffusion.noise_clipping import signal_at
from core.diffusion.process import LEAST_NOISE, Visited
from core.diffusion.schedules import SCHEDULES, Array
from core.sections import DecodingConfig

MOST_NOISE = (1.0 - 1e-6) ** 0.5
"""Of a schedule, and where steps even in log-SNR begin: 1 is infinitely far. The first step is at 1 all the same."""


def visited(decoding: DecodingConfig, least: float) -> Visited:
    """K steps from 1 on, towards the noise `least`, which stands for what would follow the last one; for CEDI the
    network is told those evenly from 1 towards cedi_end."""
    check_decoding(decoding, None)
    K, t = decoding.decoding_steps, times(decoding, least)
    told = downwards(K, decoding.cedi_end) if decoding.sampler == "cedi" else t
    start = 1.0 if decoding.decoding_variance_preserving else max(decoding.decoding_noise_factor, LEAST_NOISE)
    at, seen = tuple(t.tolist()), tuple(told.tolist())
    return Visited(at, *levels(t, decoding), start, seen, *levels(told, decoding), decoding.eta)


def downwards(K: int, end: float) -> Tensor:
    """K times evenly from 1 towards `end`, least first; in float32, as released."""
    return torch.linspace(1.0, end, K + 1)[:K].flip(0)


def times(decoding: DecodingConfig, least: float) -> Tensor:
    """t of the K steps, rising to 1 unless they are named."""
    K = decoding.decoding_steps
    if (named := named_steps(decoding, float)) is not None:
        return torch.tensor(named, dtype=torch.float64)
    if decoding.spacing == "uniform" and decoding.decoding_schedule is None:
        return downwards(K, least)
    u = torch.linspace(0.0, 1.0, K + 1, dtype=torch.float64)
    t = noise_at(u**2 if decoding.spacing == "quadratic" else u, decoding, least)
    if decoding.spacing == "log_snr":
        first, last = torch.logit(t[[0, -1]] ** 2)
        t = (first + (last - first) * u).sigmoid().sqrt()
    t[-1] = 1.0
    return t[1:]


def noise_at(u: Tensor, decoding: DecodingConfig, least: float) -> Tensor:
    """t at u in [0, 1]: the noise sqrt(1 - alpha_bar(u)) of the sampler's own schedule, at least `least`; or evenly."""
    t = least + (1.0 - least) * u
    if decoding.decoding_schedule is not None:
        t = (1.0 - torch.from_numpy(SCHEDULES[decoding.decoding_schedule](u.numpy()))).sqrt()
    return t.clamp(least, MOST_NOISE)


def levels(t: Tensor, decoding: DecodingConfig) -> tuple[Array, Array]:
    """Signal and noise at t."""
    signal = signal_at(t).double().numpy()
    noise = t.double().numpy() * max(decoding.decoding_noise_factor, LEAST_NOISE)
    if not decoding.decoding_variance_preserving:
        return signal, noise
    total = (signal**2 + noise**2) ** 0.5
    return signal / total, noise / total
