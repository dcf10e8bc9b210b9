"""Samplers: from z_k to z_{k-1}, given the network's z_0_hat. A sampler reports each step and never logs.

Each gets the visited steps (t, signal, noise), works out its coefficients once, and returns its step. `sample` is the
loop that all share.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.diffusion.process import Visited

Denoise = Callable[[Tensor, int, Tensor | None], Tensor]
"""(z_t [B, L, d_e], t, z_0_prev or None) -> z_0_hat [B, L, d_e]."""
Noise = Callable[[Tensor], Tensor]
"""Standard-normal noise like a tensor."""
Step = Callable[[int, Tensor, Tensor, Noise], Tensor]
"""(k, z_k [B, L, d_e], z_0_hat, noise) -> z_{k-1}; k >= 1."""
Sampler = Callable[[Visited], Step]


class OnCall(Protocol):
    """The hook behind every figure about decoding."""

    def __call__(self, *, t: int, z_t: Tensor, z_0_hat: Tensor) -> None:
        """Called once a network call, with its input z_t and its prediction z_0_hat, both [B, L, d_e]."""


def silent(*, t: int, z_t: Tensor, z_0_hat: Tensor) -> None:
    """The hook that does nothing."""


def seeded_noise(generator: torch.Generator) -> Noise:
    """Standard-normal noise like a tensor, from a generator of the run's own."""
    return lambda like: torch.randn(like.shape, generator=generator, device=generator.device).to(like)


def ancestral(visited: Visited) -> Step:
    """z_{k-1} ~ q(z_{k-1} | z_k, z_0_hat) (Ho et al. 2020, eq. 7; with the noise factor: Gao et al. 2024)."""
    from_z_0_hat, from_z_k, sigma = (values.tolist() for values in posterior(visited.signal, visited.noise))

    def step(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
        return from_z_0_hat[k] * z_0_hat + from_z_k[k] * z_k + sigma[k] * noise(z_k)

    return step


def ddim(visited: Visited) -> Step:
    """z_{k-1} = signal_{k-1} z_0_hat + noise_{k-1} eps_hat, eps_hat = (z_k - signal_k z_0_hat) / noise_k, without new
    noise (Song et al. 2021, eq. 12 with sigma = 0)."""
    signal, noises = visited.signal.tolist(), visited.noise.tolist()

    def step(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
        eps_hat = (z_k - signal[k] * z_0_hat) / noises[k]
        return signal[k - 1] * z_0_hat + noises[k - 1] * eps_hat

    return step


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim}


def sample(
    sampler: Sampler,
    denoise: Denoise,
    visited: Visited,
    z_T: Tensor,
    noise: Noise,
    early_stop: int,
    on_step: OnCall = silent,
) -> Tensor:
    """z_0_hat [B, L, d_e] of the last call, after steps k = K-1 .. early_stop (Gao et al. 2024).

    z_T: the start, noise of standard deviation visited.start.
    """
    step, z_t, z_0_hat = sampler(visited), z_T, None
    for k in range(len(visited.t) - 1, early_stop - 1, -1):
        z_0_hat = denoise(z_t, visited.t[k], z_0_hat)
        on_step(t=visited.t[k], z_t=z_t, z_0_hat=z_0_hat)
        if k > early_stop:
            z_t = step(k, z_t, z_0_hat, noise)
    assert z_0_hat is not None, "Visited.build refuses early_stop >= K"
    return z_0_hat


def posterior(signal: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean coefficients (of z_0, of z_k) and standard deviation of q(z_{k-1} | z_k, z_0), each [K].

    For z_k ~ N(signal_k z_0, noise_k^2 I), so with or without a noise factor (Ho et al. 2020, eq. 7, is the case
    signal^2 + noise^2 = 1). Before the first step there is no noise; the variance at k = 0, which is zero, is clipped
    to that at k = 1.
    """
    signal_to, variance_to = np.append(1.0, signal[:-1]), np.append(0.0, noise[:-1] ** 2)
    ratio = signal / signal_to
    added = noise**2 - ratio**2 * variance_to
    variance = added * variance_to / noise**2
    if len(variance) > 1:
        variance[0] = variance[1]
    return signal_to * added / noise**2, ratio * variance_to / noise**2, np.sqrt(variance)
