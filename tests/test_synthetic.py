"""The embedded corpus: what it promises to the experiments that stand on it."""

import hashlib
from collections import Counter
from functools import cache
from random import Random
from typing import Any

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import DataConfig, RunConfig, with_values
from core.errors import UserError
from core.text import synthetic
from core.text.lexicon import Entry, Grammar, WordClass, Words, grammar, spread
from core.text.synthetic import Meaning, Noun, generate

SMALL = DataConfig(corpus_pairs=400, corpus_heldout=60)


def changed(**values: Any) -> DataConfig:
    """SMALL with other values."""
    return with_values(RunConfig(data=SMALL), values).data


Readings = dict[str, dict[Words, Entry]]
"""{class: {source words: entry}}."""


def readings_of(language: Grammar) -> Readings:
    """The entries by their source words."""
    classes = {**language.classes, "place": language.places}
    return {name: {entry.source: entry for entry in part.entries} for name, part in classes.items()}


@cache
def known(config: DataConfig) -> Readings:
    """Those of a corpus's language."""
    return readings_of(grammar(config))


class Parser:
    """Reads a source sentence back into its meaning, left to right, longest phrase first."""

    def __init__(self, language: Grammar, readings: Readings, source: str) -> None:
        self.language, self.readings, self.words, self.at = language, readings, source.split(), 0

    def entry(self, name: str) -> Entry | None:
        """The entry of a class that stands here, if one does."""
        for length in (2, 1):
            found = self.readings[name].get(tuple(self.words[self.at : self.at + length]))
            if found:
                self.at += length
                return found
        return None

    def noun(self) -> Noun:
        """The noun phrase that stands here."""
        article = self.words[self.at]
        self.at += 1
        definite, plural = next((d, p) for d in (0, 1) for p in (0, 1) if self.language.articles[d][p] == article)
        adjective, entry = self.entry("adjective"), self.entry("noun")
        assert entry, f"no noun at {self.words[self.at :]}"
        return Noun(entry, bool(plural), bool(definite), adjective)

    def meaning(self) -> Meaning:
        """The whole sentence."""
        subject, adverb = self.noun(), self.entry("adverb")
        past = self.words[self.at] == self.language.past
        self.at += past
        verb, object_, place = self.entry("verb"), self.noun(), self.entry("place")
        assert verb, f"no verb in {self.words}"
        return Meaning(subject, verb, past, object_, adverb, (place, self.noun()) if place else None)


def oracle(config: DataConfig, source: str, style: int) -> str:
    """The right target of any sentence of the source language, in style 0 (A) or 1 (B): what a perfect model says."""
    return synthetic.reference(config, Parser(grammar(config), known(config), source).meaning(), style)


def configs() -> st.SearchStrategy[DataConfig]:
    """Small corpora of all kinds."""
    values = {
        "corpus_variant": st.sampled_from(["translate", "compress"]),
        "corpus_pairs": st.integers(1, 60),
        "corpus_heldout": st.integers(1, 20),
        "corpus_lexicon": st.integers(20, 800),
        "corpus_zipf": st.floats(0, 2),
        "corpus_ambiguity": st.floats(0, 1),
        "corpus_seed": st.integers(0, 10**6),
    }
    return st.fixed_dictionaries(values).map(lambda chosen: changed(**chosen))


@pytest.mark.parametrize(("variant", "digest"), [("translate", "9795b2b9c22e3ab7"), ("compress", "10d958c0513249c6")])
def test_the_corpus_is_the_recorded_one(variant: str, digest: str) -> None:
    """Recorded once; equal on Python 3.10 to 3.13. It changes only with a change of the corpus."""
    made = generate(changed(corpus_variant=variant, corpus_pairs=500, corpus_heldout=50))
    assert hashlib.sha256(repr(made).encode()).hexdigest()[:16] == digest


@settings(max_examples=30)
@given(configs())
def test_every_target_is_the_translation_in_one_style_throughout(config: DataConfig) -> None:
    train, valid, test = generate(config)
    assert (len(train), len(valid), len(test)) == (config.corpus_pairs, config.corpus_heldout, config.corpus_heldout)
    for source, target in train + valid + test:
        assert target in (oracle(config, source, 0), oracle(config, source, 1))


@settings(max_examples=30)
@given(configs())
def test_no_heldout_source_is_known(config: DataConfig) -> None:
    train, valid, test = generate(config)
    heldout = [source for source, _ in valid + test]
    assert len(set(heldout)) == len(heldout)
    assert not set(heldout) & {source for source, _ in train}


def test_more_training_pairs_leave_the_rest_as_it_is() -> None:
    one, two = generate(SMALL), generate(changed(corpus_pairs=900))
    assert one[0] == two[0][:400] and one[1:] == two[1:]


def test_ambiguity_changes_targets_alone() -> None:
    one, two = generate(SMALL), generate(changed(corpus_ambiguity=0.5))
    for before, after in zip(one, two, strict=True):
        assert [source for source, _ in before] == [source for source, _ in after]
        assert [target for _, target in before] != [target for _, target in after]


def test_seeds_make_different_languages() -> None:
    one, two = (generate(changed(corpus_seed=seed))[0] for seed in (1, 2))
    rare = [{w for source, _ in pairs for w in source.split() if len(w) >= 6} for pairs in (one, two)]
    assert len(rare[0] & rare[1]) < 0.05 * len(rare[0])


@pytest.mark.parametrize("variant", ["translate", "compress"])
def test_guessing_the_style_costs_about_ten_bleu(variant: str) -> None:
    config = changed(corpus_variant=variant, corpus_heldout=1500)
    test, guess = generate(config)[2], Random(1)
    guesses = [oracle(config, source, int(guess.random() < 0.5)) for source, _ in test]
    bleu = sacrebleu.corpus_bleu(guesses, [[target for _, target in test]]).score
    assert 86 < bleu < 93


def test_without_ambiguity_there_is_one_right_answer() -> None:
    config = changed(corpus_ambiguity=0.0)
    assert all(
        target == oracle(config, source, 0) == oracle(config, source, 1) for source, target in generate(config)[2]
    )


def test_both_styles_are_drawn_alike() -> None:
    pairs = generate(changed(corpus_pairs=4000))[0]
    told = [
        target == oracle(SMALL, source, 0)
        for source, target in pairs
        if len({oracle(SMALL, source, s) for s in (0, 1)}) == 2
    ]
    assert 0.4 < len(told) / len(pairs) < 0.6
    assert 0.47 < sum(told) / len(told) < 0.53


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=50).map(lambda x: sorted(x, reverse=True)), st.floats(0, 1))
def test_marks_hold_the_share_of_the_weight(weights: list[float], share: float) -> None:
    marked = sum(weight for weight, mark in zip(weights, spread(weights, share), strict=True) if mark)
    assert abs(marked - share * sum(weights)) <= max(weights) / 2 + 1e-9


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_words_are_zipfian(exponent: float) -> None:
    config = changed(corpus_zipf=exponent)
    nouns, rng = grammar(config).classes["noun"], Random(3)
    found = Counter(nouns.draw(rng).target for _ in range(20000))
    total = sum(rank**-exponent for rank in range(1, 201))
    for rank in (1, 2, 10):
        expected = 20000 * rank**-exponent / total
        assert abs(found[nouns.entries[rank - 1].target] - expected) < 5 * expected**0.5


@pytest.mark.parametrize("size", [20, 400, 3000])
def test_the_lexicon_has_the_size_asked_for_and_no_word_twice(size: int) -> None:
    classes = grammar(changed(corpus_lexicon=size)).classes
    entries = [entry for part in classes.values() for entry in part.entries]
    assert abs(len(entries) - size) <= 4
    for side in ("source", "target"):
        assert len({getattr(entry, side) for entry in entries}) == len(entries)


def test_the_languages_share_no_word() -> None:
    train = generate(SMALL)[0]
    assert not {w for source, _ in train for w in source.split()} & {w for _, target in train for w in target.split()}


def test_lengths_are_those_of_short_sentences() -> None:
    train = generate(changed(corpus_pairs=3000))[0]
    source, target = ([len(pair[side].split()) for pair in train] for side in (0, 1))
    assert min(source) >= 5 and max(source) <= 18
    assert 7 < sum(source) / 3000 < 8.5 and 7.5 < sum(target) / 3000 < 9


def hand_made() -> tuple[Grammar, dict[str, Entry]]:
    """A grammar small enough to speak by hand."""

    def entry(source: str, target: str, synonym: str, gender: int = 0) -> Entry:
        return Entry(
            tuple(source.split()), (tuple(target.split()), tuple(synonym.split())), ((source,), (f"{source}2",)), gender
        )

    words = {
        "dog": entry("dog", "hund", "köter"),
        "cat": entry("cat", "katze", "katze", 1),
        "see": entry("look at", "sehen", "sehen"),
        "big": entry("big", "gross", "riesig"),
        "fast": entry("fast", "im nu", "im nu"),
        "in": entry("in", "drin", "drin"),
    }
    articles = [["a", "some"], ["the", "these"]]
    target_articles = [[["ein", "eine"], ["m-pl", "f-pl"]], [["der", "die"], ["m-die", "f-die"]]]
    classes = {
        name: WordClass(tuple(words[key] for key in keys), tuple(float(i) for i in range(1, len(keys) + 1)))
        for name, keys in {"noun": ("dog", "cat"), "verb": ("see",), "adjective": ("big",), "adverb": ("fast",)}.items()
    }
    places = WordClass((words["in"],), (1.0,))
    return Grammar(classes, articles, "did", target_articles, [["hat", "hat-f"], ["haben", "haben-f"]], places), words


def test_a_sentence_spoken_by_hand() -> None:
    """Reordering, agreement over the whole sentence, 2-to-1 and 1-to-2 phrases, tense, one style throughout."""
    language, w = hand_made()
    cats, dog = Noun(w["cat"], True, True, w["big"]), Noun(w["dog"], False, False, None)
    said = Meaning(cats, w["see"], True, dog, w["fast"], (w["in"], Noun(w["dog"], True, True, w["big"])))
    source = "these big cat fast did look at a dog in these big dog"
    assert synthetic.source_sentence(language, said) == source
    assert Parser(language, readings_of(language), source).meaning() == said
    assert (
        synthetic.target_sentence(language, said, 0)
        == "f-die katze grosss m-die hund gross drin im nu ein hund sehenn haben-f"
    )
    assert (
        synthetic.target_sentence(language, said, 1)
        == "f-die katze riesigs m-die köter riesig drin im nu ein köter sehenn haben-f"
    )
    assert synthetic.compressed_sentence(language, said, 0) == "these cat did look at a dog"
    assert synthetic.compressed_sentence(language, said, 1) == "these cat2 did look at2 a dog2"


def test_a_compression_keeps_words_and_order() -> None:
    config = changed(corpus_variant="compress")
    for source, _ in generate(config)[2]:
        rest = iter(source.split())
        kept = oracle(config, source, 0).split()
        assert all(word in rest for word in kept) and 5 <= len(kept) <= len(source.split())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("corpus_pairs", 0),
        ("corpus_heldout", 0),
        ("corpus_lexicon", 3),
        ("corpus_zipf", -1.0),
        ("corpus_zipf", float("nan")),
        ("corpus_ambiguity", -0.1),
        ("corpus_ambiguity", 1.5),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"option {name}: .*(too small|not a share)"):
        generate(changed(**{name: value}))


def test_more_sentences_than_the_language_has() -> None:
    """An exponent this steep leaves one word of each class: 8448 sentences, fewer than two sets of 4300."""
    with pytest.raises(UserError, match=r"corpus_heldout.*too few different sentences"):
        generate(changed(corpus_zipf=60.0, corpus_heldout=4300))


def test_it_says_that_it_is_a_test_bench() -> None:
    assert "test bench, not natural language" in synthetic.describe(SMALL)
    assert "400 training pairs" in synthetic.describe(SMALL)
