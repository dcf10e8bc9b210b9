"""Word by word: each target token from the source token at its place. The smallest method there can be.

A method is a file like this one in core/methods/.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.candidates import Candidates
from core.methods.method import Loss, Method, NoDraws, OnStep, Term
from core.options import MethodOptions
from core.text.batches import Batch
from core.text.tokenizer import BOS, PAD


@dataclass(frozen=True)
class Writing:
    """How text is written."""

    temper: float = 1.0
    """Logits are divided by this; changes scores, not tokens."""


@dataclass(frozen=True)
class Options(MethodOptions):
    """A table of translations."""

    table_std: float = 0.1
    """Start of the table."""
    label_smoothing: float = 0.1
    """Label smoothing of the loss."""
    decoding: Writing = Writing()


class Table(nn.Module):
    """logits [V, V]: target types for each source type."""

    def __init__(self, vocab: int, max_positions: int, std: float) -> None:
        super().__init__()
        self.vocab, self.max_positions = vocab, max_positions
        self.logits = nn.Parameter(std * torch.randn(vocab, vocab))


class WordByWord(Method[Table]):
    """Each target token from the source token at its place."""

    options: Options

    def build(self, vocab: int, max_positions: int) -> Table:
        """A new table."""
        return Table(vocab, max_positions, self.options.table_std)

    def loss(self, network: Table, batch: Batch, draws: NoDraws) -> Loss:
        """Mean label-smoothed cross-entropy of all target tokens."""
        token = Term(token_losses(network, batch, self.options.label_smoothing), batch.counted(batch.target_mask))
        return Loss({"token": token}, lambda: {"nll": token})

    def held_out(self, network: Table, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean -log p per target token."""
        return {"val/nll": float(torch.cat([token_losses(network, batch, 0.0) for batch in batches]).mean())}

    def decode(
        self, network: Table, batch: Batch, decoding: Any, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """As many tokens as the source has."""
        logits = network.logits[beside(batch.source)] / decoding.temper
        best, tokens = logits.log_softmax(-1).max(-1)
        mask = functional.pad(batch.source_mask, (1, 0), value=True)
        return Candidates(tokens, mask, (best * mask).sum(1) / mask.sum(1))


def beside(source: Tensor) -> Tensor:
    """The source [B, S] with BOS before it, [B, S + 1], as a target has."""
    return functional.pad(source, (1, 0), value=BOS)


def token_losses(network: Table, batch: Batch, smoothing: float) -> Tensor:
    """-log p of each target token, [N]."""
    source, L = beside(batch.source), batch.target.shape[1]
    given = functional.pad(source, (0, max(0, L - source.shape[1])), value=PAD)[:, :L]
    logits = batch.real(network.logits[given])
    return functional.cross_entropy(logits, batch.real(batch.target), reduction="none", label_smoothing=smoothing)


METHOD = WordByWord
