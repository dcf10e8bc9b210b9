"""The entropy of translation, where it is known."""

import math

import pytest

from core.config import DataConfig
from core.text import synthetic
from core.text.complexity import translation_entropy


def test_one_translation_for_each_word_leaves_nothing_to_choose() -> None:
    pairs = [("a b", "B A"), ("b c", "C B"), ("a c", "C A"), ("a", "A"), ("b", "B"), ("c", "C")]
    assert translation_entropy(pairs) == 0.0


def test_two_synonyms_are_one_bit_and_unequal_ones_less() -> None:
    pairs = [("a", "A"), ("a", "Z"), ("b", "B"), ("b", "Y")]
    assert translation_entropy(pairs) == pytest.approx(1.0)
    uneven = [("a", "A")] * 3 + [("a", "Z")]
    assert translation_entropy(uneven) == pytest.approx(2 - 0.75 * math.log2(3))
    mixed = [*uneven, *[("b", "B")] * 4]  # half of the words have nothing to choose
    assert translation_entropy(mixed) == pytest.approx((2 - 0.75 * math.log2(3)) / 2)


def test_no_words_no_entropy() -> None:
    assert translation_entropy([("a", ""), ("b", " ")]) == 0.0
    assert translation_entropy([("a", "A"), ("b", "")]) == 0.0


def test_synonyms_in_the_embedded_corpus_raise_it() -> None:
    entropies = []
    for share in (0.0, 0.3, 0.6):
        config = DataConfig(corpus_pairs=1500, corpus_heldout=1, corpus_lexicon=60, corpus_ambiguity=share)
        entropies.append(translation_entropy(synthetic.generate(config)[0]))
    assert entropies[0] < entropies[1] < entropies[2]
