"""Ancestral sampling. A sampler reports each step through `on_step` and never logs."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from core.diffusion import SpacedProcess

Denoise = Callable[[Tensor, int, Tensor | None], Tensor]
"""(z_t [B, L, d_e], t, z_0_prev or None) -> z_0_hat [B, L, d_e]."""


class OnStep(Protocol):
    """The hook behind every figure about decoding."""

    def __call__(self, *, t: int, z_t: Tensor, z_0_hat: Tensor) -> None:
        """Called once a network call, with its input z_t and its prediction z_0_hat, both [B, L, d_e]."""


def silent(*, t: int, z_t: Tensor, z_0_hat: Tensor) -> None:
    """The hook that does nothing."""


def seeded_noise(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Standard-normal noise like a tensor, from a generator of the run's own."""
    return lambda like: torch.randn(like.shape, generator=generator, device=generator.device).to(like)


def ancestral(
    denoise: Denoise,
    process: SpacedProcess,
    z_T: Tensor,
    noise: Callable[[Tensor], Tensor],
    early_stop: int,
    on_step: OnStep = silent,
) -> Tensor:
    """z_0_hat [B, L, d_e] of the last call, after steps k = K-1 .. early_stop (Gao et al. 2024).

    z_T: the start, already scaled by the sampler's noise factor. noise(z) gives standard-normal noise like z.
    """
    z_t, z_0_hat = z_T, None
    for k in range(len(process.t) - 1, early_stop - 1, -1):
        z_0_hat = denoise(z_t, process.t[k], z_0_hat)
        on_step(t=process.t[k], z_t=z_t, z_0_hat=z_0_hat)
        if k > early_stop:
            mean = process.from_z_0_hat[k] * z_0_hat + process.from_z_t[k] * z_t
            z_t = mean + process.sigma[k] * process.noise_scale * noise(z_t)
    assert z_0_hat is not None, "SpacedProcess.build refuses early_stop >= K"
    return z_0_hat
