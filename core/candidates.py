"""What a method writes for a batch, and the choice among a sentence's candidates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from core.scoring.bleu import mbr_choice
from core.text.tokenizer import PAD


@dataclass(frozen=True)
class Candidates:
    """C candidates for each of B sentences, a sentence's adjacent.

    tokens: [B C, L]; mask: [B C, L], true at real tokens; score: what they are compared by, mean log-probability [B C].
    """

    tokens: Tensor
    mask: Tensor
    score: Tensor

    def ids(self) -> list[list[int]]:
        """Token ids of each candidate, padding left off; B C lists."""
        return [row[: int(n)] for row, n in zip(self.tokens.tolist(), self.mask.sum(1).tolist(), strict=True)]

    @classmethod
    def of(cls, ids: list[list[int]], score: Tensor) -> Self:
        """From lists of token ids and their scores [B C]."""
        lengths = torch.tensor([len(row) for row in ids])
        rows = [torch.tensor(row) for row in ids]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
        return cls(tokens, torch.arange(tokens.shape[1]) < lengths[:, None], score)


Choice = Callable[[list[str], list[float]], int]
"""(texts of a sentence's candidates, their scores) -> index of the chosen one."""


def chooser(selection: Literal["mbr", "model"], bleu_tokenizer: str) -> Choice:
    """mbr: the highest mean sentence BLEU, with that tokenizer, against the others; model: the highest score."""
    if selection == "mbr":
        return lambda texts, scores: mbr_choice(texts, bleu_tokenizer)
    return lambda texts, scores: scores.index(max(scores))
