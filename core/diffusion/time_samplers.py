"""How t is drawn in training: one function each, (T, B, generator) -> t [B], int64 in 0 .. T-1; and by the loss."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

TimeSampler = Callable[[int, int, torch.Generator], Tensor]


def uniform(T: int, count: int, generator: torch.Generator) -> Tensor:
    """Each t by itself, t ~ U{0 .. T-1} (Ho et al. 2020)."""
    return torch.randint(0, T, (count,), generator=generator)


def stratified(T: int, count: int, generator: torch.Generator) -> Tensor:
    """One t from each of B equal parts of 0 .. T-1, in random order: each is uniform, and their mean varies less
    (as the low-discrepancy times of Kingma et al. 2021)."""
    order = torch.randperm(count, generator=generator)
    u = (order + torch.rand(count, generator=generator, dtype=torch.float64)) / count
    return (u * T).long().clamp(max=T - 1)  # u just below 1 is rounded to 1


TIME_SAMPLERS: dict[str, TimeSampler] = {"uniform": uniform, "stratified": stratified}

KEPT, UNIFORM = 10, 0.001
"""Losses that are kept of each t; share of the uniform distribution (Nichol & Dhariwal 2021, and DiffuSeq)."""


class LossSecondMoments(nn.Module):
    """Draws t with p_t ~ sqrt(E[L_t^2]), the mean over its last losses (Nichol & Dhariwal 2021, eq. 18).

    Uniform until each t has KEPT losses. Buffers, which checkpoints carry: losses [T, KEPT], a ring; seen [T].
    """

    losses: Tensor
    seen: Tensor

    def __init__(self, T: int) -> None:
        super().__init__()
        self.register_buffer("losses", torch.zeros(T, KEPT, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(T, dtype=torch.int64))

    def weights(self) -> Tensor:
        """What t is drawn in proportion to, float64 [T]; without waiting for the device."""
        found = self.losses.square().mean(1).sqrt()
        T = len(found)
        found = found / found.sum() * (1.0 - UNIFORM) + UNIFORM / T
        return torch.where((self.seen >= KEPT).all(), found, torch.ones_like(found))

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """t [B] for uniform numbers u [B] (float64), and the importance weights 1 / (T p_t), float32 [B]."""
        weights = self.weights()
        p = weights / weights.sum()
        cumulative = p.cumsum(0)
        t = torch.searchsorted(cumulative / cumulative[-1], u, right=True).clamp(max=len(p) - 1)
        return t, (1.0 / (len(p) * p[t])).float()

    @torch.no_grad()
    def update(self, t: Tensor, losses: Tensor, counted: Tensor | None = None) -> None:
        """Take the losses [B] of t [B] in this order, the last KEPT of each t; counted [B]: which of them (all)."""
        counted = torch.ones_like(t, dtype=torch.bool) if counted is None else counted
        same = (t[:, None] == t) & counted
        before, alike = same.tril(-1).sum(1), same.sum(1)
        kept = counted & (before >= alike - KEPT)
        place = t * KEPT + (self.seen[t] + before) % KEPT
        spare = self.losses.numel()  # where those go that are not kept
        ring = torch.cat([self.losses.flatten(), self.losses.new_zeros(1)])
        ring[torch.where(kept, place, spare)] = losses.double()
        self.losses.copy_(ring[:-1].view_as(self.losses))
        self.seen.index_add_(0, t, counted.long())
