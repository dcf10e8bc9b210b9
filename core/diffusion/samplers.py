"""Samplers: from z_k to z_{k-1}, given the network's z_0_hat. A sampler reports each step and never logs.

Each gets the visited steps (t, signal, noise), works out its coefficients once, and returns its step; one that looks
back keeps what it needs. All hold for any signal and noise: with a noise factor, in the variance-preserving form, on a
schedule of the sampler's own. `sample` is the loop that all share, also those that put a source back at each step
(core/diffusion/walks.py). Slips of released samplers that are options stand here too.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.diffusion.process import Visited

Denoise = Callable[[Tensor, float, Tensor | None], Tensor]
"""(z_t [B, L, d_e], t, z_0_prev or None) -> z_0_hat [B, L, d_e]."""
Noise = Callable[[Tensor], Tensor]
"""Standard-normal noise like a tensor."""
Step = Callable[[int, Tensor, Tensor, Noise], Tensor]
"""(k, z_k [B, L, d_e], z_0_hat, noise) -> z_{k-1}; k >= 1."""
Sampler = Callable[[Visited], Step]
"""Called once for each decoding."""


class OnCall(Protocol):
    """The hook behind every figure about decoding."""

    def __call__(self, *, t: float, z_t: Tensor, z_0_hat: Tensor) -> None:
        """Called once a network call, with its input z_t and its prediction z_0_hat, both [B, L, d_e]."""


def silent(*, t: float, z_t: Tensor, z_0_hat: Tensor) -> None:
    """The hook that does nothing."""


def seeded_noise(generator: torch.Generator) -> Noise:
    """Standard-normal noise like a tensor, from a generator of the run's own."""
    return lambda like: torch.randn(like.shape, generator=generator, device=generator.device).to(like)


def ancestral(visited: Visited) -> Step:
    """z_{k-1} ~ q(z_{k-1} | z_k, z_0_hat) (Ho et al. 2020, eq. 7; with the noise factor: Gao et al. 2024)."""
    return around_posterior(visited, posterior(visited.signal, visited.noise)[2])


def around_posterior(visited: Visited, sigma: np.ndarray) -> Step:
    """z_{k-1} = the posterior's mean + sigma_k eps: with the posterior's sigma, or another one."""
    of_z_0_hat, of_z_k = posterior(visited.signal, visited.noise)[:2]
    from_z_0_hat, from_z_k, sigmas = (by_step(values, visited) for values in (of_z_0_hat, of_z_k, sigma))

    def step(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
        return from_z_0_hat[k] * z_0_hat + from_z_k[k] * z_k + sigmas[k] * noise(z_k)

    return step


def ancestral_large(visited: Visited) -> Step:
    """The posterior's mean with the variance beta_k = noise_k^2 - (signal_k / signal_{k-1})^2 noise_{k-1}^2, the larger
    of the two choices of Ho et al. (2020)."""
    ratio = visited.signal / shifted(visited.signal, 1.0)
    sigma = np.sqrt(visited.noise**2 - ratio**2 * shifted(visited.noise**2, 0.0))
    return around_posterior(visited, sigma)


def ancestral_flattened(visited: Visited) -> Step:
    """SeqDiffuSeq's slip: the posterior's mean with the deviations of `flattened`."""
    return around_posterior(visited, flattened(visited))


def flattened(visited: Visited) -> np.ndarray:
    """The first K entries of the posterior's standard deviations [K, L], row by row: those of the first steps."""
    return posterior(visited.signal, visited.noise)[2].flatten()[: len(visited.t)]


def ddim(visited: Visited) -> Step:
    """z_{k-1} = signal_{k-1} z_0_hat + sqrt(noise_{k-1}^2 - sigma_k^2) eps_hat + sigma_k eps,
    eps_hat = (z_k - signal_k z_0_hat) / noise_k, sigma_k = eta times that of ancestral sampling (Song et al. 2021,
    eq. 12 and 16). eta 0 draws no noise; eta 1 is ancestral sampling."""
    sigma = visited.eta * posterior(visited.signal, visited.noise)[2]
    kept = visited.noise
    if visited.eta > 0:
        kept = np.sqrt(np.maximum(visited.noise**2 - np.roll(sigma, -1, 0) ** 2, 0.0))
    signal, noises, keeps, sigmas = (by_step(v, visited) for v in (visited.signal, visited.noise, kept, sigma))

    def step(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
        eps_hat = (z_k - signal[k] * z_0_hat) / noises[k]
        z_next = signal[k - 1] * z_0_hat + keeps[k - 1] * eps_hat
        return z_next + sigmas[k] * noise(z_k) if visited.eta > 0 else z_next

    return step


def dpm_solver(visited: Visited) -> Step:
    """DPM-Solver++(2M), without noise: z_{k-1} = noise_{k-1} / noise_k z_k + signal_{k-1} (1 - exp(-h_k)) D_k,
    D_k = z_0_hat_k + h_k / (2 h_{k+1}) (z_0_hat_k - z_0_hat_{k+1}), h_k = lambda_{k-1} - lambda_k,
    lambda = log(signal / noise) (Lu et al. 2022b, algorithm 2). The first step has D_k = z_0_hat_k, and is DDIM's; so
    has one after a step that moved nothing."""
    signal, noise = visited.signal, visited.noise
    with np.errstate(divide="ignore"):  # without signal lambda is -inf, and exp(-h) = 0
        h = shifted(-np.diff(np.log(signal / noise), axis=0, append=0.0), 0.0)
    back, moved = np.zeros_like(h), h[1:] > 0
    np.divide(h[:-1], 2.0 * h[1:], out=back[:-1], where=moved)
    from_last, from_z_k = by_step(back, visited), by_step(shifted(noise, 0.0) / noise, visited)
    from_D = by_step(shifted(signal, 0.0) * -np.expm1(-h), visited)
    last: Tensor | None = None

    def step(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
        nonlocal last
        D = z_0_hat if last is None else z_0_hat + from_last[k] * (z_0_hat - last)
        last = z_0_hat
        return from_z_k[k] * z_k + from_D[k] * D

    return step


def cedi(visited: Visited) -> Step:
    """DDIM's step whose eps_hat goes by what the network was told, the times with most noise, while z_k moves along the
    visited steps: it then looks more at the source than at z_k (DINOISER, Ye et al. 2023, section 4.2)."""
    return by_told(visited, to=-1)


def one_down(visited: Visited) -> Step:
    """DiffuSeq's slip of DDIM: z_k moves from the level told at k to that which is visited at k, one of T below."""
    return by_told(visited, to=0)


def by_told(visited: Visited, to: int) -> Step:
    """z_{k-1} = signal z_0_hat + noise eps_hat of the visited step k + to, where eps_hat goes by the told level."""
    levels = (visited.told_signal, visited.told_noise, visited.signal, visited.noise)
    told_signal, told_noise, signal, noises = (by_step(values, visited) for values in levels)

    def step(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
        eps_hat = (z_k - told_signal[k] * z_0_hat) / told_noise[k]
        return signal[k + to] * z_0_hat + noises[k + to] * eps_hat

    return step


def by_step(values: np.ndarray, visited: Visited) -> list[Any]:
    """A coefficient for each step: numbers of [K]; of [K, L] vectors [L, 1], for each position its own."""
    if values.ndim == 1:
        return values.tolist()
    return list(torch.from_numpy(values).float()[..., None].to(visited.device))


def shifted(values: np.ndarray, first: float) -> np.ndarray:
    """The values of k - 1 at k, and `first` at 0."""
    return np.concatenate([np.full_like(values[:1], first), values[:-1]])


SAMPLERS: dict[str, Sampler] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "dpm_solver": dpm_solver,
    "cedi": cedi,
}


def predicted(k: int, z_k: Tensor, z_0_hat: Tensor, noise: Noise) -> Tensor:
    """z_0_hat: how a decoding ends."""
    return z_0_hat


def sample(
    step: Step,
    denoise: Denoise,
    visited: Visited,
    z_T: Tensor,
    noise: Noise,
    early_stop: int,
    on_step: OnCall = silent,
    end: Step = predicted,
) -> Tensor:
    """What follows the last call, [B, L, d_e], after steps k = K-1 .. early_stop (Gao et al. 2024): its z_0_hat.

    step: of a sampler, for these visited steps; end: in its place after the last call. z_T: the start, noise of
    standard deviation visited.start.
    """
    z_t, z_0_hat = z_T, None
    for k in range(len(visited.t) - 1, early_stop - 1, -1):
        z_0_hat = denoise(z_t, visited.told[k], z_0_hat)
        on_step(t=visited.t[k], z_t=z_t, z_0_hat=z_0_hat)
        z_t = (step if k > early_stop else end)(k, z_t, z_0_hat, noise)
    return z_t


def posterior(signal: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean coefficients (of z_0, of z_k) and standard deviation of q(z_{k-1} | z_k, z_0), each [K] or [K, L].

    For z_k ~ N(signal_k z_0, noise_k^2 I), so with or without a noise factor (Ho et al. 2020, eq. 7, is the case
    signal^2 + noise^2 = 1). Before the first step there is no noise; the variance at k = 0, which is zero, is clipped
    to that at k = 1.
    """
    signal_to, variance_to = shifted(signal, 1.0), shifted(noise**2, 0.0)
    ratio = signal / signal_to
    added = noise**2 - ratio**2 * variance_to
    variance = added * variance_to / noise**2
    if len(variance) > 1:
        variance[0] = variance[1]
    return signal_to * added / noise**2, ratio * variance_to / noise**2, np.sqrt(variance)
