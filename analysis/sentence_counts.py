"""What a score of a whole test set is made of, sentence by sentence, so that it can be taken of any resample of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

ORDERS = 4
CHARACTERS, BETA = 6, 2
"""chrF's longest n-gram, and the weight of recall."""

Row = Mapping[str, Any]
"""A row of samples.jsonl."""


class Measure(NamedTuple):
    """A score. table(rows) -> [sentences, k]; total(sums [..., k]) -> the score [...] of those sentences together.

    `table` raises KeyError where rows lack what it takes, RuntimeError where packages are missing.
    """

    name: str
    table: Callable[[Sequence[Row]], np.ndarray]
    total: Callable[[np.ndarray], np.ndarray]


def measure_of(metric: str, signature: str) -> Measure:
    """The score that a study is judged by; signature: BLEU's.

    Scores other than BLEU and chrF are means over sentences, whose own rows of samples.jsonl hold.
    """
    if metric == "bleu":
        tokenizer, effective = tokenizer_in(signature), "eff:yes" in signature
        return Measure(metric, bleu_table(tokenizer), lambda sums: bleu(sums, effective))
    if metric == "chrf":
        return Measure(metric, lambda rows: chrf_statistics(*texts(rows)), chrf)
    return Measure(metric, lambda rows: values(rows, metric), lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1))


def texts(rows: Sequence[Row]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Hypotheses, and the references of each."""
    return [row["hypothesis"] for row in rows], [references(row) for row in rows]


def references(row: Row) -> tuple[str, ...]:
    """All references of a sentence."""
    several = row.get("references")
    known = isinstance(several, list) and several and all(isinstance(one, str) for one in several)
    return tuple(several) if several and known else (str(row["reference"]),)


def streams(groups: Sequence[Sequence[str]]) -> list[list[Any]]:
    """References as sacreBLEU takes them: all first ones, all second ones (None where there is none), ..."""
    return [[group[i] if i < len(group) else None for group in groups] for i in range(max(map(len, groups)))]


def values(rows: Sequence[Row], metric: str) -> np.ndarray:
    """A score's value for each sentence, and that it has one, [sentences, 2]."""
    key = metric if "/" in metric else f"sentence_{metric}"
    found = [row[key] for row in rows]
    known = [isinstance(value, int | float) for value in found]
    return np.array([[value if is_one else 0.0, is_one] for value, is_one in zip(found, known, strict=True)], float)


# BLEU


def tokenizer_in(signature: str) -> str:
    """The name of the tokenizer in a signature of BLEU, which may go on with its version; 13a if there is none."""
    said = next((part[4:] for part in signature.split("|") if part.startswith("tok:")), "13a")
    return max((name for name in BLEU.TOKENIZERS if said.startswith(name)), key=len, default="13a")


def statistics(
    hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]], tokenizer: str = "13a"
) -> np.ndarray:
    """sacreBLEU's counts of each sentence [sentences, 10]: both lengths, 4 numbers of matches, 4 of n-grams.

    references: one a sentence, or several. Raises RuntimeError where the tokenizer's packages are missing.
    """
    groups = [[group] if isinstance(group, str) else group for group in references]
    counts = BLEU(force=True, tokenize=tokenizer)._extract_corpus_statistics(hypotheses, streams(groups))
    return np.array(counts, dtype=float).reshape(-1, 2 + 2 * ORDERS)


def bleu_table(tokenizer: str) -> Callable[[Sequence[Row]], np.ndarray]:
    """`statistics` of rows; the n-grams of references that are those of the rows before are not counted anew."""
    known: list[tuple[str, ...]] = []
    scorer: list[BLEU] = []

    def table(rows: Sequence[Row]) -> np.ndarray:
        hypotheses, groups = texts(rows)
        if groups != known:
            scorer[:] = [BLEU(force=True, tokenize=tokenizer, references=streams(groups))]
            known[:] = groups
        counts = scorer[0]._extract_corpus_statistics(hypotheses, None)
        return np.array(counts, dtype=float).reshape(-1, 2 + 2 * ORDERS)

    return table


def bleu(sums: np.ndarray, effective_order: bool = False) -> np.ndarray:
    """Corpus BLEU [...], 0..100, of summed counts [..., 10], as sacreBLEU's default: exponential smoothing.

    The k-th order without a match counts as 1 / 2^k matches; without any match at all, or without n-grams of some
    order, BLEU is 0. effective_order: orders without n-grams are left out instead.
    """
    length, reference = sums[..., 0], sums[..., 1]
    matched, total = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    halving = 0.5 ** np.cumsum(matched == 0, axis=-1)
    share = np.where(matched > 0, matched, halving) / np.maximum(total, 1)
    penalty = np.exp(np.minimum(0.0, 1 - reference / np.maximum(length, 1e-9)))
    counted = total > 0 if effective_order else np.ones_like(total, bool)
    logs = np.where(counted, np.log(share), 0.0).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
    possible = (matched.sum(axis=-1) > 0) & ((total > 0).all(axis=-1) | effective_order)
    return np.where(possible, 100 * penalty * np.exp(logs), 0.0)


# chrF


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """sacreBLEU's counts of each sentence [sentences, 18]: n-grams of both sides, and matches, order by order."""
    counts = CHRF()._extract_corpus_statistics(hypotheses, streams(references))
    return np.array(counts, dtype=float).reshape(-1, 3 * CHARACTERS)


def chrf(sums: np.ndarray) -> np.ndarray:
    """Corpus chrF [...], 0..100, of summed counts [..., 18]: mean precision and recall over the orders that both sides
    have n-grams of, in one F-measure."""
    hypothesis, reference, matched = (sums[..., i::3] for i in range(3))
    both = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(both.sum(axis=-1), 1)
    precision = np.where(both, matched / np.maximum(hypothesis, 1), 0.0).sum(axis=-1) / orders
    recall = np.where(both, matched / np.maximum(reference, 1), 0.0).sum(axis=-1) / orders
    factor = BETA**2
    score = (1 + factor) * precision * recall / np.maximum(factor * precision + recall, 1e-300)
    return 100 * np.where(precision + recall > 0, score, 0.0)
