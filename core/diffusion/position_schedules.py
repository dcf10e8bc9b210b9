"""A noise process whose schedule is its own for each position, and adapts (SeqDiffuSeq, Yuan et al. 2024, section 3.3).

Each position's loss is to rise evenly over t: abar_t is read off where the loss at t, seen in training, would be the
t-th of T evenly spaced ones.
"""

import numpy as np
import torch
from torch import Tensor, nn

from core.diffusion.schedules import Array

HIGHEST = 0.5
"""The loss that is supposed before any was seen: from 0 at the first times to this at the last, as if seen once."""
LEAST_RISE = 1e-5


class PositionProcess(nn.Module):
    """q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) F^2 I), abar of each position's own.

    Buffers, which checkpoints carry: alpha_bar [T, P]; losses and counts [bins, P] seen since the schedule last
    changed, `granularity` times t to a bin; updates. window: how many of the P positions there are.
    """

    alpha_bar: Tensor
    losses: Tensor
    counts: Tensor
    updates: Tensor

    def __init__(self, alpha_bar: Array, positions: int, F: float, granularity: int, stride: int | None) -> None:
        super().__init__()
        self.window, self.F, self.granularity, self.stride = positions, F, granularity, stride
        bins = -(-len(alpha_bar) // granularity)
        self.register_buffer("alpha_bar", torch.from_numpy(alpha_bar)[:, None].repeat(1, positions))
        self.register_buffer("losses", torch.zeros(bins, positions, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(bins, positions, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.forget()

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha_bar)

    @property
    def signal(self) -> Tensor:
        """sqrt(abar), float32 [T, window]."""
        return self.alpha_bar[:, : self.window].sqrt().float()

    @property
    def noise(self) -> Tensor:
        """sqrt(1 - abar) F, float32 [T, window]."""
        return ((1.0 - self.alpha_bar[:, : self.window]).sqrt() * self.F).float()

    def sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t for x_0, eps [B, window, d_e] and t [B]."""
        abar = self.alpha_bar[t, : self.window, None]
        return abar.sqrt().float() * x_0 + ((1.0 - abar).sqrt() * self.F).float() * eps

    def forget(self) -> None:
        """Losses as before any was seen."""
        self.losses.copy_(torch.linspace(0.0, HIGHEST, len(self.losses), dtype=torch.float64)[:, None])
        self.counts.fill_(1.0)

    @torch.no_grad()
    def see(self, t: Tensor, losses: Tensor, real: Tensor) -> bool:
        """Take the losses [B, window] at t [B] where positions are real; every `stride` updates, from three times that
        on, the schedule adapts to them. Whether it is due."""
        at = t // self.granularity
        for kept, values in ((self.losses, losses * real), (self.counts, real)):
            kept[:, : self.window].index_add_(0, at, values.double())
        self.updates += 1
        done = int(self.updates)
        return self.stride is not None and done >= 3 * self.stride and done % self.stride == 0

    @torch.no_grad()
    def adapt(self) -> None:
        """Change the schedule of all positions but the first, that of BOS, and forget the losses."""
        seen = (self.losses / self.counts).cpu().numpy()
        found = adapted(self.alpha_bar.cpu().numpy(), seen, self.granularity, self.window)
        self.alpha_bar.copy_(torch.from_numpy(found))
        self.forget()


def adapted(alpha_bar: Array, losses: Array, granularity: int, window: int) -> Array:
    """The new schedule [T, P] for mean losses [bins, P]; positions 1 .. window - 1 change.

    Between the means of abar over each bin, at the bin's loss, and the table's ends, at losses half a bin further, abar
    is linear in the loss. Losses are made to rise first.
    """
    T, bins = len(alpha_bar), len(losses)
    rise = LEAST_RISE * np.arange(bins)[:, None]
    losses = np.maximum.accumulate(losses - rise, axis=0) + rise
    first, last = losses[0] - (losses[1] - losses[0]) / 2, losses[-1] + (losses[-1] - losses[-2]) / 2
    knots = np.concatenate([first[None], losses, last[None]])
    starts = np.arange(0, T, granularity)
    means = np.add.reduceat(alpha_bar, starts, axis=0) / np.diff(np.append(starts, T))[:, None]
    ends = np.full((1, alpha_bar.shape[1]), alpha_bar.max()), np.full((1, alpha_bar.shape[1]), alpha_bar.min())
    values = np.concatenate([ends[0], means, ends[1]])
    made = alpha_bar.copy()
    for position in range(1, window):
        at = knots[:, position]
        wanted = np.linspace(at.min() - LEAST_RISE, at.max() + LEAST_RISE, T)
        made[:, position] = np.interp(wanted, at, values[:, position])
    return made
