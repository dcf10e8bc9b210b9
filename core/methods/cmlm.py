"""CMLM, the conditional masked language model with mask-predict decoding (Ghazvininejad et al. 2019).

As in fairseq 0.10.2 (`cmlm_transformer`, criterion `nat_loss`), or as in the original facebookresearch/Mask-Predict
(option `form`). What surprises in the released code is an option, off unless said:
- --iter-decode-max-iter n means n + 1 passes: `passes` counts passes.
- Early stop compares states with masks in them, and may leave these in the text (`stop_when_same`).
- A hypothesis of BOS and EOS has the best score there can be: the shortest length tried is 2 (`least_length`).
- BOS and EOS count in the mean that hypotheses are compared by (`count_ends`).
- The mask is UNK (on unless `own_mask`), and may be predicted, as may BOS, PAD and EOS (`predict_special`). A true UNK
  of the target is then as good as masked, and trained on.
The original compares hypotheses by the sum over their first length without BOS, PAD that it wrote included; so does its
form here, and `count_ends` would count BOS too.
`--preset as_released --method cmlm` takes fairseq's recipe; with `--form mask_predict` that of the original.
The network is core/discrete/network.py, the decoding core/discrete/mask_predict.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion.denoiser import Memory
from core.discrete.decoding import (
    Reader,
    lengths_around,
    lowest,
    most_likely_lengths,
    predictor,
    special,
)
from core.discrete.mask_predict import Pass, Passes, mask_predict
from core.discrete.network import TokenNetwork
from core.discrete.probes import PROBE_TIMES, Noised, per_time
from core.discrete.writing import ByLengths
from core.methods.cmlm_options import MaskPredict, Options
from core.methods.method import Loss, Method, OnStep, ProbeText, Term, curves_of
from core.networks.token_loss import token_terms
from core.randomness import generator
from core.text.batches import Batch
from core.text.shapes import filled
from core.text.tokenizer import BOS, EOS, PAD, UNK


@dataclass(frozen=True)
class Draws:
    """Uniform numbers: which tokens are masked first, [B, L], and how many, [B]."""

    order: Tensor
    count: Tensor

    def rows(self, rows: slice) -> Self:
        """Of some sentences."""
        return type(self)(self.order[rows], self.count[rows])

    def filled(self, rows: int, length: int) -> Self:
        """Of a batch filled up to a shape."""
        return type(self)(filled(self.order, rows, length), filled(self.count, rows))


class CMLM(ByLengths, Method[TokenNetwork]):
    """CMLM with its options."""

    options: Options

    @property
    def with_end(self) -> bool:
        """Whether EOS is masked as words are."""
        return self.options.masking.form == "mask_predict"

    def build(self, vocab: int, max_positions: int) -> TokenNetwork:
        """A new network."""
        options = self.options
        return TokenNetwork(options.network, options.tokens, vocab, max_positions, length_token=self.with_end)

    # Learning

    def draw(self, network: TokenNetwork, batch: Batch, seed: int, step: int) -> Draws:
        """Numbers by which tokens are masked."""
        return drawn(batch, generator(batch.target.device, seed, "step", step))

    def masked(self, network: TokenNetwork, target: Tensor, draws: Draws) -> Tensor:
        """Targets [B, L] of which floor(n u + 1) of n tokens, those with the smallest numbers, are masked."""
        among = (target != PAD) & (target != BOS) if self.with_end else ~special(target)
        most = among.sum(1) - int(self.with_end)  # not all: the released code draws below L
        count = (most.clamp_min(1) * draws.count + 1).long()
        return target.masked_fill(lowest(draws.order, among, count), network.mask_type)

    def loss(self, network: TokenNetwork, batch: Batch, draws: Draws) -> Loss:
        """L = mean(token) + length_loss_factor * mean(length); Mask-Predict's: the sums of both over masked tokens."""
        masking = self.options.masking
        given, memory = self.masked(network, batch.target, draws), network.encode(batch.source, batch.source_mask)
        masked = given == network.mask_type
        states, y = batch.pick(network.states(given, memory), masked), batch.pick(batch.target, masked)
        word, nll = token_terms(network, states, y, masking.label_smoothing)
        each, counted = network.length_losses(memory, batch.target_mask.sum(1)), batch.counted(masked)
        token, length = Term(word, counted), Term(each, batch.rows, masking.length_loss_factor)
        seen = {"token": token, "nll": Term(nll, counted), "length": length}
        if not self.with_end:
            return Loss({"token": token, "length": length}, lambda: seen)
        share = (each / masked.sum(1).clamp_min(1))[:, None].expand(masked.shape)
        both = word + masking.length_loss_factor * batch.pick(share, masked)
        return Loss({"token": Term(both, counted)}, lambda: seen)

    def held_out(self, network: TokenNetwork, batches: Iterable[Batch]) -> dict[str, float]:
        """nll per masked token; the same masks at every call."""
        total = count = 0.0
        for index, batch in enumerate(batches):
            nll = self.loss(network, batch, self.draw(network, batch, 0, -1 - index)).watched()["nll"]
            total, count = total + float(nll.sum()), count + float(nll.count())
        return {"val/nll": total / count}

    # Writing

    def calls(self, decoding: MaskPredict) -> int | None:
        """One a pass; unknown where a hypothesis may end before the last."""
        return None if decoding.stop_when_same else super().calls(decoding)

    def lengths(self, network: TokenNetwork, memory: Memory, decoding: MaskPredict) -> Tensor:
        """Lengths of all hypotheses, [B C]."""
        tried = most_likely_lengths if self.with_end else lengths_around
        return tried(network, memory, decoding.length_candidates, decoding.least_length)

    def reader(self, network: TokenNetwork, decoding: MaskPredict) -> Reader:
        """Which types may be written: without special ones; with EOS where it is a token like others."""
        if decoding.predict_special:
            return Reader(network, ())
        barred = [BOS, PAD] + ([] if self.with_end else [EOS]) + ([UNK] if network.mask_type == UNK else [])
        return Reader(network, barred)

    def passes(self, decoding: MaskPredict) -> Passes:
        """How often the network is asked."""
        return Passes(decoding.passes, self.with_end, decoding.stop_when_same)

    def decode(
        self, network: TokenNetwork, batch: Batch, decoding: MaskPredict, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """Candidates, one a length; seed is not used: nothing is drawn."""
        memory = network.encode(batch.source, batch.source_mask)
        lengths = self.lengths(network, memory, decoding)

        def look(done: Pass) -> None:
            if on_step is not None:
                left = 1 - done.index / decoding.passes
                on_step(left, self.written(done.filled, lengths, done.log_p, decoding))

        predict, reader = predictor(network, memory, lengths), self.reader(network, decoding)
        tokens, log_p = mask_predict(predict, reader, lengths, network.mask_type, self.passes(decoding), look)
        return self.written(tokens, lengths, log_p, decoding)

    # Diagnostics

    def probes(self, network: TokenNetwork, text: ProbeText) -> dict[str, Any]:
        """Accuracy and nll of masked tokens at each share of masked ones (t); BLEU along a decoding."""
        shares = [(index + 1) / PROBE_TIMES for index in range(PROBE_TIMES)]

        def noised(batch: Batch, share: float, source: torch.Generator) -> Noised:
            among = ~special(batch.target)
            where = lowest(drawn(batch, source).order, among, (among.sum(1) * share).ceil())
            return Noised(batch.target.masked_fill(where, network.mask_type), where)

        along = text.bleu_by_step(self.alone(self.options.decoding))
        return curves_of(text, shares, per_time(network, text.batches, shares, noised, text.seed), along)


def drawn(batch: Batch, source: torch.Generator) -> Draws:
    """Uniform numbers for a batch."""
    device, (B, L) = batch.target.device, batch.target.shape
    order = torch.rand(B, L, generator=source, device=device)
    return Draws(order, torch.rand(B, generator=source, device=device))


METHOD = CMLM
