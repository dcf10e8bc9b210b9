"""The forward process q(z_t | z_0) with noise factor F, and the steps that a sampler visits.

Equations: Ho et al. 2020 (eq. 4); noise factor and spacing as in Gao et al. 2024.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from core.checks import check_decoding
from core.diffusion.schedules import alpha_bars
from core.sections import DecodingConfig, DiffusionConfig

LEAST_NOISE = 1e-12
"""Stands for a sampler's noise factor of 0, whose coefficients are limits: in float32 nothing is added."""


class ForwardProcess(nn.Module):
    """q(z_t | z_0) = N(signal_t z_0, noise_t^2 I). Buffers signal, noise: float32 [T], which checkpoints carry."""

    signal: Tensor
    noise: Tensor

    def __init__(self, signal: np.ndarray, noise: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("signal", torch.from_numpy(signal).float())
        self.register_buffer("noise", torch.from_numpy(noise).float())

    @classmethod
    def build(cls, config: DiffusionConfig, released_slip: bool = False) -> Self:
        """The process of a configuration.

        released_slip: the released code, asked for the variance-preserving form, multiplies the noise by F as well
        (SNR / F^4). Only for replaying its recordings.
        """
        F = config.noise_factor
        vp = config.variance_preserving
        alpha_bar = alpha_bars(config.schedule, config.diffusion_steps, F if vp else 1.0)
        scale = F if released_slip or not vp else 1.0
        return cls(np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar) * scale)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.signal)

    def sample(self, z_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) F eps, for z_0, eps [B, L, d_e] and t [B]."""
        return self.signal[t, None, None] * z_0 + self.noise[t, None, None] * eps


@dataclass(frozen=True)
class Visited:
    """The K steps k = 0 .. K-1 that a sampler visits, least noise first (float64: no host synchronisation).

    t[k]: the training step that the network is told. z_k ~ N(signal[k] z_0, noise[k]^2 I). start: standard deviation
    of z_T, where sampling begins.
    """

    t: tuple[int, ...]
    signal: np.ndarray
    noise: np.ndarray
    start: float

    @classmethod
    def build(cls, training: DiffusionConfig, decoding: DecodingConfig, released_slip: bool = False) -> Self:
        """The steps of a decoding, on the sampler's own schedule, form and noise factor. released_slip: as above."""
        T, K = training.diffusion_steps, decoding.decoding_steps
        check_decoding(decoding, T)
        F = max(decoding.decoding_noise_factor, LEAST_NOISE)
        vp = decoding.decoding_variance_preserving
        t = spaced_steps(T, K)
        alpha_bar = alpha_bars(decoding.decoding_schedule or training.schedule, T, F if vp else 1.0)[list(t)]
        scale = F if released_slip or not vp else 1.0
        return cls(t, np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar) * scale, scale)


def spaced_steps(T: int, K: int) -> tuple[int, ...]:
    """s_k = round(k (T-1) / (K-1)), accumulated as the released sampler does; one step stands at T-1."""
    if K == 1:
        return (T - 1,)
    position, steps = 0.0, []
    for _ in range(K):
        steps.append(round(position))
        position += (T - 1) / (K - 1)
    return tuple(steps)
