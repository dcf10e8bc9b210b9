"""MDLM, masked diffusion with its continuous-time bound (Sahoo et al. 2024; kuleshov-group/mdlm at c112c52).

The clean absorbing objective: each word is masked with probability (1 - eps) t, and the bound on -log p(x) is the mean
of the cross-entropy of the masked words over t (log-linear schedule). The mask has no logit, and a word that is not
masked stays (SUBS); the network is not told t; times are spread evenly over a batch. Given the length (by a length
head, as in the other methods here) it is CMLM but for the weights and for how many words are masked.

The released sampler draws words down to t = 1e-5, and then takes the most likely words for the masks that are left by a
call more (option noise_removal, off).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from core.candidates import Candidates
from core.discrete.decoding import Chance, Reader, special
from core.discrete.mask_predict import Pass, Passes, mask_predict, unmask_by_chance
from core.discrete.network import TokenNetwork
from core.discrete.probes import PROBE_TIMES, Noised, per_time
from core.discrete.rows import spread
from core.discrete.writing import Begun, ByLengths
from core.methods.mdlm_options import Options, Unmasking
from core.methods.method import Loss, Method, OnStep, ProbeText, Term, curves_of
from core.networks.token_loss import token_terms
from core.randomness import generator
from core.text.batches import Batch
from core.text.shapes import filled
from core.text.tokenizer import BOS, EOS, PAD


@dataclass(frozen=True)
class Draws:
    """Times [B] in [eps, 1], and uniform numbers by which words are masked, [B, L]."""

    t: Tensor
    u: Tensor

    def rows(self, rows: slice) -> Self:
        """Of some sentences."""
        return type(self)(self.t[rows], self.u[rows])

    def filled(self, rows: int, length: int) -> Self:
        """Of a batch filled up to a shape."""
        return type(self)(filled(self.t, rows, value=1.0), filled(self.u, rows, length))


class MDLM(ByLengths, Method[TokenNetwork]):
    """MDLM with its options."""

    options: Options

    def build(self, vocab: int, max_positions: int) -> TokenNetwork:
        """A new network."""
        return TokenNetwork(self.options.network, self.options.tokens, vocab, max_positions)

    # Learning

    def draw(self, network: TokenNetwork, batch: Batch, seed: int, step: int) -> Draws:
        """Times, and numbers by which words are masked."""
        return drawn(batch, self.options.diffusion.least_time, generator(batch.target.device, seed, "step", step))

    def masked(self, network: TokenNetwork, target: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Targets [B, L] with each word masked with probability (1 - eps) t, and where."""
        places = ~special(target) & (draws.u < (1 - self.options.diffusion.least_time) * draws.t[:, None])
        return target.masked_fill(places, network.mask_type), places

    def loss(self, network: TokenNetwork, batch: Batch, draws: Draws) -> Loss:
        """L = mean over words of nll / t, 0 where they are not masked, + length_loss_factor * mean(length).

        With weighting = none: of nll.
        """
        (given, places), memory = (
            self.masked(network, batch.target, draws),
            network.encode(batch.source, batch.source_mask),
        )
        states = batch.pick(network.states(given, memory), places)
        nll = token_terms(network, states, batch.pick(batch.target, places), 0.0)[1]
        words = ~special(batch.target)
        losses = spread(batch, nll, places)
        bound = Term(batch.pick(losses / draws.t[:, None], words), batch.counted(words))
        plain = Term(batch.pick(losses, words), batch.counted(words))
        token = bound if self.options.diffusion.weighting == "bound" else plain
        each = network.length_losses(memory, batch.target_mask.sum(1))
        length = Term(each, batch.rows, self.options.diffusion.length_loss_factor)
        seen = {"token": token, "nll": Term(nll, batch.counted(places)), "bound": bound, "length": length}
        return Loss({"token": token, "length": length}, lambda: seen)

    def held_out(self, network: TokenNetwork, batches: Iterable[Batch]) -> dict[str, float]:
        """nll per masked word, and the bound on -log p per word; the same times and masks at every call."""
        sums = torch.zeros(4, dtype=torch.float64)
        for index, batch in enumerate(batches):
            seen = self.loss(network, batch, self.draw(network, batch, 0, -1 - index)).watched()
            terms = [seen["nll"], seen["bound"]]
            sums += torch.tensor([float(each) for term in terms for each in (term.sum(), term.count())])
        nll, masked, bound, words = sums.tolist()
        return {"val/nll": nll / max(masked, 1), "val/bound": bound / words}

    # Writing

    def calls(self, decoding: Unmasking) -> int | None:
        """One a pass; by chance at most as many."""
        return None if decoding.unmasking == "ancestral" else super().calls(decoding)

    def reader(self, network: TokenNetwork, decoding: Unmasking, chance: Chance) -> Reader:
        """Words alone, unless special types may be written; never the mask."""
        barred = ([network.mask_type] if network.mask_type < network.vocab else []) + (
            [] if decoding.predict_special else [BOS, PAD, EOS]
        )
        return Reader(network, barred, temperature=decoding.temperature, chance=chance)

    def decode(
        self, network: TokenNetwork, batch: Batch, decoding: Unmasking, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """Candidates, one a length."""
        begun, mask, S = Begun.of(network, batch, decoding, seed), network.mask_type, decoding.passes

        def look(done: Pass) -> None:
            if on_step is not None:
                on_step(1 - done.index / S, self.written(done.filled, begun.lengths, done.log_p, decoding))

        parts = begun.predict, self.reader(network, decoding, begun.chance), begun.lengths, mask
        if decoding.unmasking == "ancestral":
            tokens, log_p = unmask_by_chance(*parts, S, begun.chance, look, decoding.noise_removal)
        else:  # the surest words are written, and stay: as many in each pass, and without noise
            tokens, log_p = mask_predict(*parts, Passes(S, keep=True), look)
        return self.written(tokens, begun.lengths, log_p, decoding)

    # Diagnostics

    def probes(self, network: TokenNetwork, text: ProbeText) -> dict[str, Any]:
        """Accuracy and nll of masked words at each t; BLEU along a decoding."""
        times = [(index + 1) / PROBE_TIMES for index in range(PROBE_TIMES)]

        def noised(batch: Batch, t: float, source: torch.Generator) -> Noised:
            u = torch.rand(batch.target.shape, generator=source, device=batch.target.device)
            return Noised(*self.masked(network, batch.target, Draws(torch.full_like(u[:, 0], t), u)))

        along = text.bleu_by_step(self.alone(self.options.decoding))
        return curves_of(text, times, per_time(network, text.batches, times, noised, text.seed), along)


def drawn(batch: Batch, least: float, source: torch.Generator) -> Draws:
    """Times of which each of B equal parts of [eps, 1] has one, in random order, and uniform numbers."""
    B, L = batch.target.shape
    device = batch.target.device
    order = torch.randperm(B, generator=source, device=device)
    share = (order + torch.rand(B, generator=source, device=device)) / B
    return Draws(least + (1 - least) * share, torch.rand(B, L, generator=source, device=device))


METHOD = MDLM
