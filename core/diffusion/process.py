"""The forward process q(z_t | z_0) with noise factor F, and the steps that a sampler visits.

Equations: Ho et al. 2020 (eq. 4); noise factor and spacing as in Gao et al. 2024.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from core.checks import check_decoding, named_steps
from core.diffusion.schedules import alpha_bars
from core.diffusion.spacing import SPACINGS
from core.sections import DecodingConfig, DiffusionConfig

CPU = torch.device("cpu")
LEAST_NOISE = 1e-12
"""Stands for a sampler's noise factor of 0, whose coefficients are limits: in float32 nothing is added."""


class ForwardProcess(nn.Module):
    """q(z_t | z_0) = N(signal_t z_0, noise_t^2 I). Buffers signal, noise: float32 [T], which checkpoints carry."""

    signal: Tensor
    noise: Tensor

    def __init__(self, signal: np.ndarray, noise: np.ndarray) -> None:
        super().__init__()
        self.start_std = math.sqrt(1.0 - float(signal[0]) ** 2)  # in double, as 1 - abar_0 may be 1e-5
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

    t[k]: the time of z_k ~ N(signal[k] z_0, noise[k]^2 I). told[k]: the time that the network is told, and the levels
    there; t[k] but for CEDI. start: standard deviation of z_T, where sampling begins. eta: share of ancestral
    sampling's new noise in DDIM's. Levels are [K], or of each position, [K, L]; device: where those are wanted.
    """

    t: tuple[float, ...]
    signal: np.ndarray
    noise: np.ndarray
    start: float
    told: tuple[float, ...]
    told_signal: np.ndarray
    told_noise: np.ndarray
    eta: float = 0.0
    device: torch.device = CPU

    @classmethod
    def build(cls, training: DiffusionConfig, decoding: DecodingConfig, released_slip: bool = False) -> Self:
        """The steps of a decoding, on the sampler's own schedule, form and noise factor. released_slip: as above."""
        T = training.diffusion_steps
        check_decoding(decoding, T)
        F = max(decoding.decoding_noise_factor, LEAST_NOISE)
        vp = decoding.decoding_variance_preserving
        alpha_bar = alpha_bars(decoding.decoding_schedule or training.schedule, T, F if vp else 1.0)
        return cls.among(alpha_bar, decoding, F if released_slip or not vp else 1.0)

    @classmethod
    def among(cls, alpha_bar: np.ndarray, decoding: DecodingConfig, F: float, device: torch.device = CPU) -> Self:
        """The steps of a decoding among T, [T], or of each position, [T, L]: one on average in log-SNR."""
        T, K = len(alpha_bar), decoding.decoding_steps
        signal, noise = np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar) * F
        log_snr = np.log(alpha_bar / (1.0 - alpha_bar)).reshape(T, -1).mean(1)
        t = named_steps(decoding, int) or SPACINGS[decoding.spacing](log_snr, K)
        told = cedi_steps(T, K, decoding.cedi_end) if decoding.sampler == "cedi" else t
        at, seen = list(t), list(told)
        return cls(t, signal[at], noise[at], F, told, signal[seen], noise[seen], decoding.eta, device)


def cedi_steps(T: int, K: int, end: float) -> tuple[int, ...]:
    """What CEDI tells the network at steps k = 0 .. K-1: evenly from T-1 down towards the share `end` of it, which
    stands for what would follow k = 0 (Ye et al. 2023)."""
    return tuple(round((T - 1) * (end + (1.0 - end) * (k + 1) / K)) for k in range(K))
