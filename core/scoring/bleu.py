"""BLEU of sentences, equal to sacreBLEU's and fast enough to compare candidates with each other."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import NamedTuple

from sacrebleu.metrics.helpers import extract_all_word_ngrams

from core.errors import UserError
from core.scoring.tokenizers import USUAL, tokenize

ORDERS = 4
"""Longest n-gram of BLEU."""


class NGrams(NamedTuple):
    """A sentence as BLEU counts it: n-grams of orders 1 to 4, and its length in tokens."""

    counts: Counter[tuple[str, ...]]
    length: int


def ngrams(text: str, tokenizer: str = USUAL) -> NGrams:
    """N-grams of a text after a tokenisation of sacreBLEU."""
    return NGrams(*extract_all_word_ngrams(tokenize(tokenizer)(text), 1, ORDERS))


def matches(a: NGrams, b: NGrams) -> list[int]:
    """Clipped n-gram matches of each order; the same whichever of the two is the hypothesis."""
    found = [0] * ORDERS
    other = b.counts
    for gram, count in a.counts.items():
        if gram in other:
            found[len(gram) - 1] += min(count, other[gram])
    return found


def bleu_of(matched: Sequence[int], length: int, reference_length: int, effective_order: bool = True) -> float:
    """Sentence BLEU, 0..100, from the matches: sacreBLEU's exponential smoothing and effective order.

    An order without matches counts as 1 / 2^k matches, k being how many such orders came so far; orders longer than
    the hypothesis are left out (Chen & Cherry 2014, smoothing 3). Without effective order, as in corpus BLEU, a
    hypothesis of fewer than ORDERS tokens has 0.
    """
    if not any(matched) or (length < ORDERS and not effective_order):
        return 0.0
    log_sum, halving, orders = 0.0, 1.0, min(ORDERS, length)
    for n in range(orders):
        if not matched[n]:
            halving *= 2
        log_sum += math.log(100 * (matched[n] or 1 / halving) / (length - n))
    return min(1.0, math.exp(1 - reference_length / length)) * math.exp(log_sum / orders)


def sentence_bleu(hypothesis: str, reference: str | Sequence[str], tokenizer: str = USUAL) -> float:
    """Sentence BLEU, 0..100, against one reference or several; equal to sacrebleu.sentence_bleu. 0 if a side is empty.

    Of several references a token sequence counts as often as in the one that has it most, and the length is that of
    the nearest one, of two equally near the shorter.
    """
    a = ngrams(hypothesis, tokenizer)
    found = [ngrams(text, tokenizer) for text in ([reference] if isinstance(reference, str) else reference)]
    counts = reduce(lambda one, other: one | other, [each.counts for each in found])
    nearest = min((each.length for each in found), key=lambda length: (abs(length - a.length), length))
    return bleu_of(matches(a, NGrams(counts, nearest)), a.length, nearest)


def mbr_choice(
    candidates: Sequence[str], tokenizer: str = USUAL, as_hypothesis: bool = False, effective_order: bool = True
) -> int:
    """Index of the candidate with the highest mean sentence BLEU of the others against it; the first of equals.

    As in the released Difformer each other candidate is the hypothesis, the judged one the reference; as_hypothesis:
    the other way round. effective_order: see bleu_of. Equal texts are counted once and weighted: late in training most
    candidates are equal. Raises UserError without candidates.
    """
    if not candidates:
        raise UserError("no candidates to choose from")
    texts = Counter(candidates)
    grams = {text: ngrams(text, tokenizer) for text in texts}
    least = 1 if effective_order else ORDERS  # tokens of a text that has 100 against itself
    totals = {text: (times - 1) * (100.0 if grams[text].length >= least else 0.0) for text, times in texts.items()}
    for a, b in combinations(texts, 2):
        shared, length_a, length_b = matches(grams[a], grams[b]), grams[a].length, grams[b].length
        of_a = bleu_of(shared, length_a, length_b, effective_order)
        of_b = bleu_of(shared, length_b, length_a, effective_order)
        totals[a] += texts[b] * (of_a if as_hypothesis else of_b)
        totals[b] += texts[a] * (of_b if as_hypothesis else of_a)
    enough = max(totals.values()) - 1e-9  # equal but for the order of a sum is equal
    return candidates.index(next(text for text, total in totals.items() if total >= enough))
