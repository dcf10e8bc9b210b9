"""Text from batches, by any method: decode, choose among the candidates, in the order of the sentences."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch

from core.methods.method import Method
from core.text.batches import Batch

DECODE_TOKENS, GPU_DECODE_TOKENS = 4096, 32768
"""Source tokens of a decoding batch, over the number of candidates. A GPU is twice as fast with many."""


def decode_tokens(device: torch.device) -> int:
    """How many they are on this device."""
    return GPU_DECODE_TOKENS if device.type == "cuda" else DECODE_TOKENS


class Written(NamedTuple):
    """A candidate: its text, and its score by the model, the mean log-probability of its tokens."""

    text: str
    score: float


@torch.no_grad()
def candidates(
    method: Method[Any],
    model: Any,
    batches: Iterable[tuple[list[int], Batch]],
    decoding: Any,
    decode: Callable[[list[int]], str],
    seed: int,
    bleu_tokenizer: str,
) -> Iterator[dict[int, list[Written]]]:
    """For each batch {index: candidates} of its sentences, the chosen one first, the others by their score; the index
    comes with the batch. bleu_tokenizer: for a choice by BLEU-MBR."""
    count, choose = method.count(decoding), method.choice(decoding, bleu_tokenizer)
    for indices, batch in batches:
        found = method.decode(model, batch, decoding, seed)
        scores, decoded = found.score.tolist(), [decode(ids) for ids in found.ids()]
        written: dict[int, list[Written]] = {}
        for row, index in enumerate(indices):
            group = slice(row * count, (row + 1) * count)
            made = list(map(Written, decoded[group], scores[group]))
            chosen = choose(decoded[group], scores[group]) if count > 1 else 0
            others = made[:chosen] + made[chosen + 1 :]
            written[index] = [made[chosen], *sorted(others, key=lambda one: -one.score)]
        yield written


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
    made = candidates(method, model, batches, decoding, decode, seed, bleu_tokenizer)
    return {index: found[0].text for batch in made for index, found in batch.items()}
