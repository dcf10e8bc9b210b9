"""What an output that never changes scores: a model whose scores are not above it has learned nothing from the source.

Such outputs are made of training targets alone: their most frequent types, in that order, at two lengths, and the
most frequent of them. The highest score counts, for each metric by itself: a strict floor. scores.json has the outputs
(floor_outputs), from which the floor can be made anew with the scores.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from core.text.batches import Ragged
from core.text.tokenizer import SPECIALS, Tokenizer

R = TypeVar("R")
SHARES = (1.0, 1.5)
"""Lengths tried, as shares of the mean length of training targets."""
SENTENCES = 500
"""Test sentences that they are scored on, at most: each costs as much as scoring a model's output."""
NO_SCORES = ("brevity_penalty", "length_ratio", "sentences")
"""Numbers of scores.json that say nothing on quality."""


def constants(targets: Ragged, tokenizer: Tokenizer) -> list[str]:
    """Outputs that never change, the shortest first, the most frequent target last; targets: with BOS and EOS."""
    counts = targets.counts(len(tokenizer))
    counts[: len(SPECIALS)] = 0
    ranked = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())].tolist()
    mean = float(targets.lengths.mean()) - 2
    lengths = sorted({max(1, round(share * mean)) for share in SHARES})
    whole, _ = Counter(targets[i].tobytes() for i in range(len(targets.lengths))).most_common(1)[0]
    rows = [*(ranked[:length] for length in lengths), np.frombuffer(whole, targets.values.dtype)[1:-1].tolist()]
    return list(dict.fromkeys(tokenizer.decode(row) for row in rows))


def floor(
    outputs: Sequence[str], references: Sequence[R], score: Callable[[list[str], Sequence[R]], Mapping[str, Any]]
) -> dict[str, float]:
    """{"floor/bleu": the highest BLEU of an output written for every sentence, ...}; score: of hypotheses."""
    head = references[:SENTENCES]
    found = [score([output] * len(head), head) for output in outputs]
    names = [name for name, value in found[0].items() if isinstance(value, int | float) and name not in NO_SCORES]
    values = {name: [row[name] for row in found if isinstance(row.get(name), int | float)] for name in names}
    return {f"floor/{name}": float(max(own)) for name, own in values.items() if np.isfinite(own).all()}
