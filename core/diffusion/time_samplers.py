"""How t is drawn in training: one function each, (T, B, generator) -> t [B], int64 in 0 .. T-1."""

from collections.abc import Callable

import torch
from torch import Tensor

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
