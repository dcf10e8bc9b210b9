"""Scores of a set of hypotheses (BLEU, chrF, ROUGE, with what makes them comparable) and the choice by BLEU-MBR.

All scores are 0..100 and are taken on the text as given: BLEU tokenises it again (sacreBLEU's 13a), so text that was
tokenised before, such as IWSLT14 as distributed, yields a tokenised BLEU. The signatures belong beside the numbers.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.helpers import extract_all_word_ngrams
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from core.errors import UserError

ORDERS = 4
"""Longest n-gram of BLEU."""
ROUGES = ("rouge1", "rouge2", "rougeL")

References = Sequence[str] | Sequence[Sequence[str]]
"""One reference a sentence, or several."""


def score(hypotheses: Sequence[str], references: References) -> dict[str, Any]:
    """The fields of scores.json that texts alone decide.

    bleu, chrf: corpus scores by sacreBLEU with its defaults; signature, chrf_signature: sacreBLEU's own.
    rouge1, rouge2, rougeL: mean over sentences of the F-measure, without stemming (Porter's is English only; texts may
    be in any language), by rouge-score, which sees the letters a-z and digits only; several references: the best.
    brevity_penalty: BLEU's, 0..1. length_ratio: hypothesis over reference length in BLEU tokens. sentences: number.
    Empty hypotheses are scored like any other. Raises UserError for no sentences, unequal numbers, no reference.
    """
    grouped = _grouped(hypotheses, references)
    streams = _streams(grouped)
    bleu, chrf = BLEU(force=True), CHRF()
    found = bleu.corpus_score(hypotheses, streams)
    return {
        "bleu": found.score,
        "chrf": chrf.corpus_score(hypotheses, streams).score,
        **rouge(hypotheses, grouped),
        "brevity_penalty": found.bp,
        "length_ratio": found.ratio,
        "signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
        "sentences": len(hypotheses),
    }


def bleu(hypotheses: Sequence[str], references: References) -> float:
    """Corpus BLEU alone, as in `score`."""
    return float(BLEU(force=True).corpus_score(hypotheses, _streams(_grouped(hypotheses, references))).score)


def _grouped(hypotheses: Sequence[str], references: References) -> list[list[str]]:
    """The references of each sentence; UserError where they do not match the hypotheses."""
    if not hypotheses:
        raise UserError("nothing to score: there are no hypotheses; is the test set empty?")
    if len(hypotheses) != len(references):
        raise UserError(
            f"cannot score {len(hypotheses)} hypotheses against {len(references)} references: one line each"
        )
    grouped = [[group] if isinstance(group, str) else list(group) for group in references]
    if [] in grouped:
        raise UserError(f"cannot score: sentence {grouped.index([]) + 1} has no reference")
    return grouped


def _streams(grouped: list[list[str]]) -> list[list[Any]]:
    """References as sacreBLEU takes them: all first ones, all second ones (None where there is none), ..."""
    most = max(map(len, grouped))
    return [[group[i] if i < len(group) else None for group in grouped] for i in range(most)]


def rouge(hypotheses: Sequence[str], grouped: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean ROUGE F-measures x 100 over sentences, the best reference of each."""
    from rouge_score.rouge_scorer import RougeScorer  # here: its import of nltk takes two seconds
    from rouge_score.tokenizers import DefaultTokenizer

    scorer = RougeScorer(ROUGES, tokenizer=DefaultTokenizer(use_stemmer=False))
    rows = [scorer.score_multi(group, text) for group, text in zip(grouped, hypotheses, strict=True)]
    return {name: 100 * math.fsum(row[name].fmeasure for row in rows) / len(rows) for name in ROUGES}


class NGrams(NamedTuple):
    """A sentence as BLEU counts it: n-grams of orders 1 to 4, and its length in tokens."""

    counts: Counter[tuple[str, ...]]
    length: int


@cache
def _tokenizer() -> Tokenizer13a:
    return Tokenizer13a()


def ngrams(text: str) -> NGrams:
    """N-grams of a text after sacreBLEU's 13a tokenisation."""
    return NGrams(*extract_all_word_ngrams(_tokenizer()(text.rstrip()), 1, ORDERS))


def matches(a: NGrams, b: NGrams) -> list[int]:
    """Clipped n-gram matches of each order; the same whichever of the two is the hypothesis."""
    found = [0] * ORDERS
    other = b.counts
    for gram, count in a.counts.items():
        if gram in other:
            found[len(gram) - 1] += min(count, other[gram])
    return found


def bleu_of(matched: Sequence[int], length: int, reference_length: int) -> float:
    """Sentence BLEU, 0..100, from the matches: sacreBLEU's exponential smoothing and effective order.

    An order without matches counts as 1 / 2^k matches, k being how many such orders came so far; orders longer than
    the hypothesis are left out (Chen & Cherry 2014, smoothing 3).
    """
    if not any(matched):
        return 0.0
    log_sum, halving, orders = 0.0, 1.0, min(ORDERS, length)
    for n in range(orders):
        if not matched[n]:
            halving *= 2
        log_sum += math.log(100 * (matched[n] or 1 / halving) / (length - n))
    return min(1.0, math.exp(1 - reference_length / length)) * math.exp(log_sum / orders)


def sentence_bleu(hypothesis: str, reference: str) -> float:
    """Sentence BLEU, 0..100; equal to sacrebleu.sentence_bleu. 0 if either side is empty."""
    a, b = ngrams(hypothesis), ngrams(reference)
    return bleu_of(matches(a, b), a.length, b.length)


def mbr_choice(candidates: Sequence[str]) -> int:
    """Index of the candidate with the highest mean sentence BLEU of the others against it; the first of equals.

    As in the released code each other candidate is the hypothesis, the judged one the reference. Equal texts are
    counted once and weighted: late in training most candidates are equal. Raises UserError without candidates.
    """
    if not candidates:
        raise UserError("no candidates to choose from")
    texts = Counter(candidates)
    grams = {text: ngrams(text) for text in texts}
    totals = {text: (times - 1) * (100.0 if grams[text].length else 0.0) for text, times in texts.items()}
    for a, b in combinations(texts, 2):
        shared, length_a, length_b = matches(grams[a], grams[b]), grams[a].length, grams[b].length
        totals[a] += texts[b] * bleu_of(shared, length_b, length_a)
        totals[b] += texts[a] * bleu_of(shared, length_a, length_b)
    enough = max(totals.values()) - 1e-9  # equal but for the order of a sum is equal
    return candidates.index(next(text for text, total in totals.items() if total >= enough))
