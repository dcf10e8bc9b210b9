"""ROUGE by Unicode words: rouge-score's measure over the words of any script."""

import math
from collections.abc import Sequence
from importlib.metadata import version

from core.scoring.scripts import words

TYPES = ("rouge1", "rouge2", "rougeL")


class Words:
    """What rouge-score calls to split a text."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return words(text)


def rouge(hypotheses: Sequence[str], grouped: Sequence[Sequence[str]]) -> dict[str, float | None]:
    """Mean ROUGE F-measures x 100 over sentences, the best reference of each.

    Sentences none of whose references has a word are left out; None if that is all of them.
    """
    from rouge_score.rouge_scorer import RougeScorer  # here: its import of nltk takes two seconds

    scorer = RougeScorer(TYPES, tokenizer=Words())
    pairs = [(group, text) for group, text in zip(grouped, hypotheses, strict=True) if any(map(words, group))]
    if not pairs:
        return dict.fromkeys(TYPES)
    rows = [scorer.score_multi(group, text) for group, text in pairs]
    return {name: 100 * math.fsum(row[name].fmeasure for row in rows) / len(rows) for name in TYPES}


def signature(references: int) -> str:
    """What makes a ROUGE comparable, in sacreBLEU's manner. references: of each sentence; -1: not the same of all."""
    number = "var" if references < 0 else references
    return f"nrefs:{number}|case:lc|tok:unicode-words|stem:no|rouge-score:{version('rouge-score')}"
