"""How much there is to choose in translating a corpus: the entropy of a target word given its source word.

After Zhou, Gu and Neubig (2020), who align words, and take the lower entropy of distilled text as the reason why models
that write all tokens at once learn it better. The alignment here is IBM model 1 (Brown et al. 1993).
"""

from collections.abc import Iterable, Sequence

import numpy as np

from core.text.corpus import Pairs

ROUNDS = 5
"""Rounds of expectation maximisation."""
PAIRS = 30000
"""Pairs that are looked at, the first of the corpus: memory grows with source times target words."""


def translation_entropy(pairs: Pairs) -> float:
    """H(target word | source word) in bits a target word, words being what white space separates; 0 without words.

    Each target word is aligned to the word of its source sentence, or to none, that model 1 finds most likely; then
    -log2 of its share among what that source word is aligned to is averaged over all target words.
    """
    sources = _numbered([("", *source.split()) for source, _ in pairs[:PAIRS]])
    targets = _numbered([tuple(target.split()) for _, target in pairs[:PAIRS]])
    source = np.concatenate([np.tile(one, len(other)) for one, other in zip(sources, targets, strict=True)])
    target = np.concatenate([np.repeat(other, len(one)) for one, other in zip(sources, targets, strict=True)])
    if not len(target):
        return 0.0
    links = np.array([len(one) for one, other in zip(sources, targets, strict=True) for _ in other])
    starts = np.concatenate([[0], np.cumsum(links)[:-1]])
    types, kind = np.unique(source * (target.max() + 1) + target, return_inverse=True)
    given = types // (target.max() + 1)
    likely = model_1(kind, given, np.repeat(np.arange(len(links)), links))[kind]
    aligned = kind[_first_best(likely, starts, links)]
    counts = np.bincount(aligned, minlength=len(types)).astype(float)
    share = counts / np.maximum(np.bincount(given, counts)[given], 1.0)
    return float(-(counts * np.log2(np.where(counts > 0, share, 1.0))).sum() / len(links) + 0.0)


def model_1(kind: np.ndarray, given: np.ndarray, word: np.ndarray) -> np.ndarray:
    """p(target type | source type) for each pair of types [K].

    kind [N]: pair of types of each possible link; given [K]: source type of a pair; word [N]: target word of a link.
    """
    p = np.ones(len(given))
    for _ in range(ROUNDS):
        weight = p[kind]
        weight /= np.bincount(word, weight)[word]
        counts = np.bincount(kind, weight)
        p = counts / np.bincount(given, counts)[given]
    return p


def _first_best(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The place of the first greatest value in each stretch."""
    best = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, starts), lengths))
    return best[np.searchsorted(best, starts)]


def _numbered(sentences: Sequence[Iterable[str]]) -> list[np.ndarray]:
    """Each sentence as numbers of its types."""
    numbers: dict[str, int] = {}
    return [np.array([numbers.setdefault(w, len(numbers)) for w in words], dtype=np.int64) for words in sentences]
