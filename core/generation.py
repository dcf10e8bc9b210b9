"""Text from batches, by any method: decode, choose among the candidates, in the order of the sentences."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from core.methods.method import Method
from core.text.batches import Batch

DECODE_TOKENS, GPU_DECODE_TOKENS = 4096, 32768
"""Source tokens of a decoding batch, over the number of candidates. A GPU is twice as fast with many."""


def decode_tokens(device: torch.device) -> int:
    """How many they are on this device."""
    return GPU_DECODE_TOKENS if device.type == "cuda" else DECODE_TOKENS


@torch.no_grad()
def translate(
    method: Method[Any],
    model: Any,
    batches: Iterable[tuple[list[int], Batch]],
    decoding: Any,
    decode: Callable[[list[int]], str],
    seed: int,
    bleu_tokenizer: str,
) -> dict[int, str]:
    """{index: text} of each sentence; its index comes with its batch. bleu_tokenizer: for a choice by BLEU-MBR."""
    count, choose = method.count(decoding), method.choice(decoding, bleu_tokenizer)
    texts: dict[int, str] = {}
    for indices, batch in batches:
        found = method.decode(model, batch, decoding, seed)
        scores, decoded = found.score.tolist(), [decode(ids) for ids in found.ids()]
        for row, index in enumerate(indices):
            group = slice(row * count, (row + 1) * count)
            texts[index] = decoded[group][choose(decoded[group], scores[group]) if count > 1 else 0]
    return texts
