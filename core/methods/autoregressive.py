"""The autoregressive Transformer (Vaswani et al. 2017): the scale that every table needs, and the usual teacher of
sequence-level distillation. The network is core/networks/causal.py, its search core/networks/beam.py.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.candidates import Candidates
from core.methods.autoregressive_options import BeamSearch, Options
from core.methods.method import Loss, Method, NoDraws, OnStep, Term
from core.networks.beam import beam_search, greedy
from core.networks.causal import CausalTransformer
from core.networks.token_loss import token_terms
from core.text.batches import Batch
from core.text.tokenizer import PAD


class Autoregressive(Method[CausalTransformer]):
    """The autoregressive Transformer with its options."""

    options: Options
    WEIGHTS_KEY = "teacher"  # as when it was the teacher of distillations alone: equal seeds give equal teachers

    def build(self, vocab: int, max_positions: int) -> CausalTransformer:
        """A new network."""
        return CausalTransformer(self.options.network, vocab, max_positions)

    def loss(self, network: CausalTransformer, batch: Batch, draws: NoDraws) -> Loss:
        """The mean label-smoothed cross-entropy; draws nothing but dropout."""
        token, nll = token_losses(network, batch, self.options.objective.label_smoothing)
        following = batch.counted(batch.target[:, 1:] != PAD)
        return Loss(
            {"token": Term(token, following)}, lambda: {"token": Term(token, following), "nll": Term(nll, following)}
        )

    def held_out(self, network: CausalTransformer, batches: Iterable[Batch]) -> dict[str, float]:
        """-log p per target token (BOS not counted), in nats."""
        losses = torch.cat([token_losses(network, batch, 0.0)[1] for batch in batches])
        return {"val/nll": float(losses.double().mean())}

    @property
    def validation(self) -> BeamSearch:
        """Greedy."""
        return replace(BeamSearch(), beam=1)

    def decode(
        self, network: CausalTransformer, batch: Batch, decoding: BeamSearch, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """The best hypotheses found for each sentence; on_step is not called: no text stands before it is through."""
        if decoding.beam > 1:
            return Candidates.of(
                *beam_search(network, batch, decoding.beam, decoding.length_penalty, decoding.hypotheses)
            )
        ids, log_p = greedy(network, batch)
        lengths = log_p.new_tensor([len(row) - 1 for row in ids])
        return Candidates.of(ids, log_p / lengths**decoding.length_penalty)

    def count(self, decoding: BeamSearch) -> int:
        """The hypotheses that are kept, the best one first."""
        return decoding.hypotheses

    def with_candidates(self, decoding: BeamSearch, count: int) -> BeamSearch:
        """Keeps so many hypotheses, as far as the beam has them."""
        return replace(decoding, hypotheses=max(decoding.hypotheses, min(count, decoding.beam)))

    def alone(self, decoding: BeamSearch) -> BeamSearch:
        """The best hypothesis alone."""
        return replace(decoding, hypotheses=1)

    def calls_for(self, decoding: BeamSearch, tokens: float) -> float:
        """One a token."""
        return tokens

    def facts(self, decoding: BeamSearch) -> dict[str, Any]:
        """The beam and how its hypotheses are compared."""
        return super().facts(decoding) | {"beam": decoding.beam, "length_penalty": decoding.length_penalty}


def token_losses(network: CausalTransformer, batch: Batch, smoothing: float) -> tuple[Tensor, Tensor]:
    """Label-smoothed cross-entropy and -log p of each target token but BOS, given those before it, each [N - B]."""
    source = network.encode(batch.source, batch.source_mask)
    given, wanted = batch.target[:, :-1], batch.target[:, 1:]
    real = wanted != PAD
    states = network.states(given, source)
    return token_terms(network, batch.pick(states, real), batch.pick(wanted, real), smoothing)


METHOD = Autoregressive
