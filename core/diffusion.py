"""The forward process q(z_t | z_0) with noise factor F, and the spaced posterior q(z_{k-1} | z_k, z_0).

Equations: Ho et al. 2020 (eqs. 4, 6, 7); noise factor and spacing as in Gao et al. 2024.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from core.checks import check_steps
from core.config import DecodingConfig, DiffusionConfig
from core.schedules import alpha_bars


@dataclass(frozen=True)
class ForwardProcess:
    """Tables of q(z_t | z_0) = N(signal_t z_0, noise_t^2 I), each float32 of shape [T]."""

    signal: Tensor
    noise: Tensor

    @classmethod
    def build(cls, config: DiffusionConfig, released_slip: bool = False) -> Self:
        """Tables for a configuration.

        released_slip: the released code, asked for the variance-preserving form, multiplies the noise by F as well
        (SNR / F^4). Only for replaying its recordings.
        """
        F = config.noise_factor
        vp = config.variance_preserving
        alpha_bar = alpha_bars(config.schedule, config.diffusion_steps, F if vp else 1.0)
        scale = F if released_slip or not vp else 1.0
        return cls(_float32(np.sqrt(alpha_bar)), _float32(np.sqrt(1.0 - alpha_bar) * scale))

    @property
    def steps(self) -> int:
        """T."""
        return len(self.signal)

    def to(self, device: torch.device) -> Self:
        """The same tables on a device."""
        return type(self)(self.signal.to(device), self.noise.to(device))

    def sample(self, z_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) F eps, for z_0, eps [B, L, d_e] and t [B]."""
        return self.signal[t, None, None] * z_0 + self.noise[t, None, None] * eps


@dataclass(frozen=True)
class SpacedProcess:
    """What the sampler needs at each of its K steps k = 0 .. K-1 (plain floats: no host synchronisation).

    t[k]: the training step that the network is told, s_k = round(k (T-1) / (K-1)).
    z_{k-1} ~ N(from_z_0_hat[k] z_0_hat + from_z_t[k] z_k, (sigma[k] noise_scale)^2 I).
    """

    t: tuple[int, ...]
    from_z_0_hat: tuple[float, ...]
    from_z_t: tuple[float, ...]
    sigma: tuple[float, ...]
    noise_scale: float

    @classmethod
    def build(cls, training: DiffusionConfig, decoding: DecodingConfig, released_slip: bool = False) -> Self:
        """Coefficients of the posterior between the K steps that decoding visits."""
        T, K = training.diffusion_steps, decoding.decoding_steps
        check_steps(decoding, T)
        F = decoding.decoding_noise_factor
        vp = decoding.decoding_variance_preserving
        t = spaced_steps(T, K)
        alpha_bar = alpha_bars(decoding.decoding_schedule or training.schedule, T, F if vp else 1.0)[list(t)]
        from_z_0_hat, from_z_t, variance = posterior(alpha_bar)
        scale = F if released_slip or not vp else 1.0
        return cls(t, tuple(from_z_0_hat), tuple(from_z_t), tuple(np.sqrt(variance)), scale)


def spaced_steps(T: int, K: int) -> tuple[int, ...]:
    """s_k = round(k (T-1) / (K-1)), accumulated as the released sampler does; one step stands at T-1."""
    if K == 1:
        return (T - 1,)
    position, steps = 0.0, []
    for _ in range(K):
        steps.append(round(position))
        position += (T - 1) / (K - 1)
    return tuple(steps)


def posterior(alpha_bar: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean coefficients (of z_0_hat, of z_k) and variance of q(z_{k-1} | z_k, z_0), each [K] (Ho et al., eq. 7).

    The variance at k = 0, which is zero, is clipped to that at k = 1.
    """
    previous = np.append(1.0, alpha_bar[:-1])
    beta = 1.0 - alpha_bar / previous
    from_z_0_hat = beta * np.sqrt(previous) / (1.0 - alpha_bar)
    from_z_t = (1.0 - previous) * np.sqrt(1.0 - beta) / (1.0 - alpha_bar)
    variance = beta * (1.0 - previous) / (1.0 - alpha_bar)
    if len(variance) > 1:
        variance[0] = variance[1]
    return from_z_0_hat, from_z_t, variance


def _float32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()
