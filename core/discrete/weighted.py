"""The losses of noised tokens: cross-entropy weighted by time, or the divergence of one step's posteriors (Zheng et al.
2023; Hoogeboom et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.diffusion.denoiser import Memory
from core.discrete.decoding import special
from core.discrete.network import TokenNetwork
from core.discrete.noise import Absorbing, Multinomial, NoisedTokens
from core.discrete.options import TokenObjective
from core.discrete.rows import repeated, spread
from core.networks.token_loss import token_terms
from core.text.batches import Batch

REWEIGHTING: dict[str, Callable[[Tensor, int], Tensor]] = {
    "linear": lambda t, T: 1 - t / T,
    "reciprocal": lambda t, T: 1 / (t + 1),
    "none": lambda t, T: torch.ones_like(t, dtype=torch.float32),
}
"""lambda_t, the weight of a time (Zheng et al. 2023, section 4.2)."""


class NoisyNetwork(TokenNetwork):
    """The network and its noise process."""

    process: Absorbing | Multinomial


@dataclass(frozen=True)
class Seen:
    """What the network saw of a batch and made of it, K times a sentence adjacent.

    batch: each target K times. t: [B K]; states: [B K, L, d]. nll, even: cross-entropy of the target, and of all types
    alike, at noised places [B K, L], 0 elsewhere.
    """

    batch: Batch
    noised: NoisedTokens
    t: Tensor
    memory: Memory
    states: Tensor
    nll: Tensor
    even: Tensor


def see(network: NoisyNetwork, batch: Batch, noised: NoisedTokens, t: Tensor) -> Seen:
    """Show the network a batch that was noised to times t [B, K]."""
    memory, batch, t = network.encode(batch.source, batch.source_mask), repeated(batch, t.shape[1]), t.flatten()
    places = noised.places.flatten(0, 1)
    states = network.states(noised.tokens.flatten(0, 1), memory, t)
    nll, even = entropies(network, batch.pick(states, places), batch.pick(batch.target, places))
    return Seen(batch, noised, t, memory, states, spread(batch, nll, places), spread(batch, even, places))


def entropies(network: NoisyNetwork, states: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of y [n], and of all types alike; multinomial: special types are barred in the first alone."""
    even, nll = token_terms(network, states, y, 1.0)
    if isinstance(network.process, Multinomial):
        nll = functional.cross_entropy(barred_logits(network, network.process, states), y, reduction="none")
    return nll, even


def barred_logits(network: NoisyNetwork, process: Multinomial, states: Tensor) -> Tensor:
    """Logits [n, V] without those of special types."""
    with torch.autocast(states.device.type, enabled=False):
        return process.without_special(network.embedding.logits(states.float()))


def weighted(seen: Seen, objective: TokenObjective, T: int) -> tuple[Tensor, Tensor]:
    """nll and even with the weights of their times, [B K, L]."""
    form = "reciprocal" if objective.loss_form == "vanilla" else objective.reweighting
    weight = REWEIGHTING[form](seen.t, T)[:, None]
    return weight * seen.nll, (weight if objective.smoothing_reweighted else 1.0) * seen.even


def token_losses(network: NoisyNetwork, seen: Seen, objective: TokenObjective) -> Tensor:
    """The loss at each place, [B K, L]."""
    if objective.loss_form == "vanilla" and isinstance(network.process, Multinomial):
        return divergences(network, network.process, seen)
    nll, even = weighted(seen, objective, network.process.T)
    return (1 - objective.label_smoothing) * nll + objective.label_smoothing * even


def divergences(network: NoisyNetwork, process: Multinomial, seen: Seen) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) at words, and -log p(x_0 | x_1), [B K, L]."""
    batch, words = seen.batch, ~special(seen.batch.target)
    whole = (seen.noised.tokens.flatten(0, 1), batch.target, seen.t[:, None].expand(words.shape))
    x_t, x_0, t = (batch.pick(each, words) for each in whole)
    log_x_0 = barred_logits(network, process, batch.pick(seen.states, words)).log_softmax(-1)
    true, model = (process.posterior(x_t, each, t, t - 1) for each in (process.one(x_0), log_x_0))
    nll = -log_x_0.gather(1, x_0[:, None])[:, 0]
    return spread(batch, torch.where(t == 0, nll, (true.exp() * (true - model)).sum(-1)), words)
