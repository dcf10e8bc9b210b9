"""What an output that never changes scores: a model whose scores are not above it has learned nothing from the source.

Such outputs are made of training targets alone: their most frequent types, in that order, at two lengths, the most
frequent of them, and those that are most like the others. The highest score counts, for each metric by itself: a
strict floor. scores.json has the outputs (floor_outputs), from which the floor can be made anew with the scores.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from core.text.batches import Ragged
from core.text.tokenizer import SPECIALS, Tokenizer

R = TypeVar("R")
SHARES = (1.0, 1.5)
"""Lengths tried, as shares of the mean length of training targets."""
SENTENCES = 500
"""Test sentences that they are scored on, at most: each costs as much as scoring a model's output."""
LOOKED_AT, CENTRAL = 2000, 3
"""Training targets that are compared with each other, at most, evenly spaced; how many of them are taken."""
NO_SCORES = ("brevity_penalty", "length_ratio", "sentences")
"""Numbers of scores.json that say nothing on quality."""


def constants(targets: Ragged, tokenizer: Tokenizer) -> list[str]:
    """Outputs that never change, those of frequent types first, the shortest first; targets: with BOS and EOS."""
    counts = targets.counts(len(tokenizer))
    counts[: len(SPECIALS)] = 0
    ranked = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())].tolist()
    mean = float(targets.lengths.mean()) - 2
    lengths = sorted({max(1, round(share * mean)) for share in SHARES})
    whole, _ = Counter(targets[i].tobytes() for i in range(len(targets.lengths))).most_common(1)[0]
    spaced = np.unique(np.linspace(0, len(targets.lengths) - 1, LOOKED_AT).astype(int))
    rows = [*(ranked[:length] for length in lengths), np.frombuffer(whole, targets.values.dtype)[1:-1].tolist()]
    rows += central([tuple(targets[i][1:-1].tolist()) for i in spaced], CENTRAL)
    return list(dict.fromkeys(tokenizer.decode(row) for row in rows))


def central(rows: Sequence[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """So many of the rows, each another one: those with the highest BLEU as the output for every one of them."""
    found = Counter(gram for row in rows for gram in grams(row))
    length = sum(map(len, rows)) / len(rows)

    def log_bleu(row: tuple[int, ...]) -> float:
        matches, most = [0] * 4, [0] * 4
        for gram in grams(row):
            matches[len(gram[0]) - 1] += found[gram]
            most[len(gram[0]) - 1] += len(rows)
        shares = [max(matched, 0.1) / max(possible, len(rows)) for matched, possible in zip(matches, most, strict=True)]
        return sum(map(math.log, shares)) / 4 + min(0.0, 1 - length / max(1, len(row)))

    return sorted(dict.fromkeys(rows), key=log_bleu, reverse=True)[:count]


def grams(row: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """The 1- to 4-grams of a row, each with how often it has come up to there: a gram that comes twice is two."""
    seen = Counter[tuple[int, ...]]()
    for n in range(1, 5):
        for start in range(len(row) - n + 1):
            gram = tuple(row[start : start + n])
            seen[gram] += 1
            yield gram, seen[gram]


def floor(
    outputs: Sequence[str], references: Sequence[R], score: Callable[[list[str], Sequence[R]], Mapping[str, Any]]
) -> dict[str, float]:
    """{"floor/bleu": the highest BLEU of an output written for every sentence, ...}; score: of hypotheses."""
    head = references[:SENTENCES]
    found = [score([output] * len(head), head) for output in outputs]
    names = [name for name, value in found[0].items() if isinstance(value, int | float) and name not in NO_SCORES]
    values = {name: [row[name] for row in found if isinstance(row.get(name), int | float)] for name in names}
    return {f"floor/{name}": float(max(own)) for name, own in values.items() if np.isfinite(own).all()}
