"""What a training step of an embedding diffusion draws.

Arms with the same seed draw the same t, noise and coins, so their differences are paired.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from core.diffusion.time_samplers import TimeSampler, uniform
from core.randomness import generator
from core.text.shapes import filled


@dataclass(frozen=True)
class Draws:
    """The random numbers of one training step: t [B], standard-normal eps [B, L, d_e], the self-conditioning coin."""

    t: Tensor
    eps: Tensor
    coin: bool

    def rows(self, rows: slice) -> Self:
        """The draws of some sentences; the coin is the batch's."""
        return type(self)(self.t[rows], self.eps[rows], self.coin)

    def filled(self, rows: int, length: int) -> Self:
        """The draws of a batch filled up to a shape."""
        return type(self)(filled(self.t, rows), filled(self.eps, rows, length), self.coin)


def training_draws(
    seed: int,
    step: int,
    shape: tuple[int, int, int],
    T: int,
    device: torch.device,
    time_sampler: TimeSampler = uniform,
) -> Draws:
    """t per sentence, eps ~ N(0, I), coin ~ Bernoulli(0.5) per batch, for a batch of shape [B, L, d_e]."""
    host = generator(torch.device("cpu"), seed, "step", step)
    t = time_sampler(T, shape[0], host)
    coin = bool(torch.rand((), generator=host) < 0.5)
    source = host if device.type == "cpu" else generator(device, seed, "eps", step)
    return Draws(t.to(device, non_blocking=True), torch.randn(shape, generator=source, device=device), coin)
