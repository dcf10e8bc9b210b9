"""The embedded corpus: sentence pairs in two invented languages, written by a small probabilistic grammar.

A test bench, not natural language. A sentence is drawn as a meaning (who does what to whom, how, where, when), which
is then spoken in both languages. The source is subject-verb-object; the target is verb-final, has adjectives after
nouns and postpositions. Target articles, adjectives and the closing auxiliary agree with the noun's gender, which the
source does not mark; the auxiliary agrees over the whole sentence. A past particle and its verb become one word, some
source phrases of two words become one, some words become two. Word frequencies are Zipfian in each word class.
Some target words have a synonym: each sentence has a style, A or B, that chooses among them all. The source does not
tell the style, so several translations are right and a mixture of them is not.
The `compress` variant keeps the source's language and word order and drops all modifiers.

All randomness comes from random.Random(text).random(), the same on every platform and Python version. Sentences,
styles and languages have streams of their own: more training pairs leave the held-out pairs as they are, another
ambiguity leaves the source sentences as they are.
"""

from dataclasses import dataclass
from random import Random

from core.errors import UserError
from core.sections import DataConfig
from core.text.lexicon import Entry, Grammar, grammar

Pairs = list[tuple[str, str]]

PLURAL, DEFINITE, ADJECTIVE, ADVERB, PLACE, PAST = 0.35, 0.6, 0.35, 0.3, 0.3, 0.4

HOPELESS = 100_000
"""Sentences in a row that stand in the text already, after which there are too few others."""
VERSION = 1
"""Part of every run's identity: raise it when the generator writes other sentences for the same options."""


@dataclass(frozen=True)
class Noun:
    """A noun phrase."""

    entry: Entry
    plural: bool
    definite: bool
    adjective: Entry | None


@dataclass(frozen=True)
class Meaning:
    """What a sentence says. place: preposition and its noun phrase."""

    subject: Noun
    verb: Entry
    past: bool
    object: Noun
    adverb: Entry | None
    place: tuple[Entry, Noun] | None


def draw_noun(rng: Random, language: Grammar) -> Noun:
    """A noun phrase."""
    entry = language.classes["noun"].draw(rng)
    plural, definite, described = rng.random() < PLURAL, rng.random() < DEFINITE, rng.random() < ADJECTIVE
    return Noun(entry, plural, definite, language.classes["adjective"].draw(rng) if described else None)


def draw_meaning(rng: Random, language: Grammar) -> Meaning:
    """What one sentence says."""
    subject, verb, past = draw_noun(rng, language), language.classes["verb"].draw(rng), rng.random() < PAST
    object_ = draw_noun(rng, language)
    adverb = language.classes["adverb"].draw(rng) if rng.random() < ADVERB else None
    place = (language.places.draw(rng), draw_noun(rng, language)) if rng.random() < PLACE else None
    return Meaning(subject, verb, past, object_, adverb, place)


def source_noun(language: Grammar, noun: Noun) -> list[str]:
    """Article, adjective, noun."""
    adjective = noun.adjective.source if noun.adjective else ()
    return [language.articles[noun.definite][noun.plural], *adjective, *noun.entry.source]


def source_sentence(language: Grammar, said: Meaning) -> str:
    """Subject, adverb, past particle, verb, object, preposition and place."""
    words = source_noun(language, said.subject) + list(said.adverb.source if said.adverb else ())
    words += [language.past] * said.past + [*said.verb.source, *source_noun(language, said.object)]
    if said.place:
        words += [*said.place[0].source, *source_noun(language, said.place[1])]
    return " ".join(words)


def target_noun(language: Grammar, noun: Noun, style: int) -> list[str]:
    """Article, noun, adjective; article and adjective agree with the noun's gender."""
    words = [language.target_articles[noun.definite][noun.plural][noun.entry.gender], *noun.entry.target[style]]
    if noun.adjective:
        words += noun.adjective.target[style]
        words[-1] += "s" * noun.entry.gender
    return words


def target_sentence(language: Grammar, said: Meaning, style: int) -> str:
    """Subject, place and postposition, adverb, object, verb (one form a tense), auxiliary agreeing with the subject."""
    words = target_noun(language, said.subject, style)
    if said.place:
        words += [*target_noun(language, said.place[1], style), *said.place[0].target[style]]
    words += [*(said.adverb.target[style] if said.adverb else ()), *target_noun(language, said.object, style)]
    words += said.verb.target[style]
    words[-1] += "n" * said.past
    return " ".join([*words, language.auxiliaries[said.subject.plural][said.subject.entry.gender]])


def compressed_sentence(language: Grammar, said: Meaning, style: int) -> str:
    """Subject, past particle, verb, object in the source's words, without adjectives, adverb and place."""
    subject, object_ = (
        [language.articles[noun.definite][noun.plural], *noun.entry.compressed[style]]
        for noun in (said.subject, said.object)
    )
    return " ".join([*subject, *[language.past] * said.past, *said.verb.compressed[style], *object_])


def reference(config: DataConfig, said: Meaning, style: int) -> str:
    """The target sentence of a meaning in style 0 (A) or 1 (B)."""
    speak = compressed_sentence if config.corpus_variant == "compress" else target_sentence
    return speak(grammar(config), said, style)


def check(config: DataConfig) -> None:
    """UserError naming the option if the corpus cannot be written with these values."""
    least = {"corpus_pairs": 1, "corpus_heldout": 1, "corpus_lexicon": 20, "corpus_zipf": 0, "corpus_ambiguity": 0}
    for name, value in least.items():
        if not getattr(config, name) >= value:
            raise UserError(f"option {name}: {getattr(config, name)} is too small; at least {value}")
    if config.corpus_ambiguity > 1:
        raise UserError(f"option corpus_ambiguity: {config.corpus_ambiguity} is not a share; at most 1")


def sentences(config: DataConfig, split: str, count: int, taken: set[str], unique: bool) -> Pairs:
    """`count` pairs whose sources are not in `taken`; with `unique`, none twice, and `taken` grows by them."""
    language, pairs = grammar(config), Pairs()
    rng, styles = Random(f"{config.corpus_seed} {split} sentences"), Random(f"{config.corpus_seed} {split} styles")
    since = 0
    for _ in range(20 * count + 1000):
        since += 1
        said = draw_meaning(rng, language)
        source = source_sentence(language, said)
        if source not in taken:
            since = 0
            pairs.append((source, reference(config, said, int(styles.random() < 0.5))))
            if unique:
                taken.add(source)
        if len(pairs) == count:
            return pairs
        if since > HOPELESS:
            break
    raise UserError(
        f"option corpus_heldout: the language has too few different sentences for {config.corpus_heldout}; "
        "ask for fewer, or for a larger corpus_lexicon or a smaller corpus_zipf"
    )


def generate(config: DataConfig) -> tuple[Pairs, Pairs, Pairs]:
    """Training, validation and test pairs; no held-out source occurs twice or in training.

    Raises UserError on options the corpus cannot be written with.
    """
    check(config)
    heldout: set[str] = set()
    valid = sentences(config, "valid", config.corpus_heldout, heldout, unique=True)
    test = sentences(config, "test", config.corpus_heldout, heldout, unique=True)
    return sentences(config, "train", config.corpus_pairs, heldout, unique=False), valid, test


def describe(config: DataConfig) -> str:
    """One paragraph on what this corpus is, for reports."""
    task = {
        "translate": "from a subject-verb-object into a verb-final language with agreement, phrases and synonyms",
        "compress": "from whole sentences to the same without modifiers",
    }[config.corpus_variant]
    return (
        f"Embedded corpus: a test bench, not natural language. {config.corpus_pairs} training pairs (and twice "
        f"{config.corpus_heldout} held out) of invented words, {task}; {config.corpus_lexicon} content words a "
        f"language, Zipf exponent {config.corpus_zipf:g}, {config.corpus_ambiguity:.0%} of a text's content words with "
        f"a synonym that is chosen once per sentence and that the source does not tell; seed {config.corpus_seed}."
    )
