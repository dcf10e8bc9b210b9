"""How well the network tells tokens that are noised, at each amount of noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.diffusion.probes import over_times
from core.discrete.network import TokenNetwork
from core.networks.kernels import most_likely
from core.networks.token_loss import token_terms
from core.randomness import generator
from core.text.batches import Batch

PROBE_TIMES = 16


@dataclass(frozen=True)
class Noised:
    """Tokens with noise [B, L], where it is (bool [B, L]), and the time [B] that the network is told, if any."""

    tokens: Tensor
    places: Tensor
    t: Tensor | None = None


@torch.no_grad()
def per_time(
    network: TokenNetwork,
    batches: Sequence[Batch],
    times: Sequence[float],
    noised: Callable[[Batch, float, torch.Generator], Noised],
    seed: int,
) -> dict[str, list[float]]:
    """Accuracy and -log p over the batches' noised tokens at each time; lists as long as times."""

    def at(t: float, index: int, batch: Batch) -> Tensor:
        return sums(network, batch, noised(batch, t, generator(batch.target.device, seed, "probe", index)))

    return over_times(("nll", "accuracy"), times, batches, at)


def sums(network: TokenNetwork, batch: Batch, noised: Noised) -> Tensor:
    """-log p, correct and counted over a batch's noised tokens, [3]."""
    memory = network.encode(batch.source, batch.source_mask)
    states = network.states(noised.tokens, memory, noised.t)[noised.places].float()
    y = batch.target[noised.places]
    if len(y) == 0:
        return torch.zeros(3, dtype=torch.float64, device=y.device)
    nll = token_terms(network, states, y, 0.0)[1]
    correct = most_likely(states, network.embedding.output())[0] == y
    return torch.stack([nll.sum(), correct.sum(), torch.tensor(len(y), device=y.device)]).double()
