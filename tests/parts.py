"""Several ranks' parts of a batch, reduced in one process."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.distributed import Ranks
from core.methods.method import Loss
from core.training.step import reduced


@dataclass(frozen=True)
class Together(Ranks):
    """A rank that knows what all ranks' counts add up to."""

    counts: Tensor | None = None

    def total(self, values: Tensor) -> Tensor:
        assert self.counts is not None
        return self.counts


def reduced_apart(losses: Sequence[Loss]) -> list[Tensor]:
    """The share of each rank, given each rank's terms."""
    counts = torch.stack([torch.stack([term.count().double() for term in one.terms.values()]) for one in losses]).sum(0)
    return [reduced(one, Together(rank, len(losses), counts)) for rank, one in enumerate(losses)]
