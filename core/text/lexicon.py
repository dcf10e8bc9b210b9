"""The two invented languages of the embedded corpus: their words, made up from a seed, and what each means.

Words are coined from open syllables, other ones in each language. Each entry of the lexicon pairs a source word or
phrase with a target one, and with the synonyms that a sentence's style chooses.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random

from core.sections import DataConfig

Words = tuple[str, ...]

SOURCE_SOUNDS = ("p", "t", "k", "b", "d", "g", "m", "n", "l", "s")
TARGET_SOUNDS = ("f", "v", "z", "r", "h", "w", "j", "sh", "ch", "th")
CLASSES = {"noun": 0.5, "verb": 0.25, "adjective": 0.15, "adverb": 0.1}
PHRASES = 0.1  # share of the lexicon that is two words in the source, and share that is two in the target


@dataclass(frozen=True)
class Entry:
    """A meaning and its words: in the source, in the target in styles A and B, in a compression in styles A and B."""

    source: Words
    target: tuple[Words, Words]
    compressed: tuple[Words, Words]
    gender: int


@dataclass(frozen=True)
class WordClass:
    """The entries of one class, most frequent first, and the running sum of their weights."""

    entries: tuple[Entry, ...]
    cumulative: tuple[float, ...]

    def draw(self, rng: Random) -> Entry:
        """An entry, by its frequency."""
        place = bisect(self.cumulative, rng.random() * self.cumulative[-1])
        return self.entries[min(place, len(self.entries) - 1)]


@dataclass(frozen=True)
class Grammar:
    """Both languages. Function words are indexed: articles [definite][plural], target ones [..][gender] as well."""

    classes: dict[str, WordClass]
    articles: list[list[str]]
    past: str
    target_articles: list[list[list[str]]]
    auxiliaries: list[list[str]]
    places: WordClass


class Coiner:
    """Makes up words, each once: stems of 2 or 3 open syllables, function words of one."""

    def __init__(self, rng: Random, onsets: Words) -> None:
        self.rng, self.known = rng, set[str]()
        self.syllables = [onset + vowel for onset in onsets for vowel in "aeiou"]

    def word(self, syllables: int) -> str:
        """A new word; a syllable longer each time a hundred drawn words are all taken."""
        for attempt in range(10**6):
            length = syllables + attempt // 100
            word = "".join(self.syllables[int(self.rng.random() * len(self.syllables))] for _ in range(length))
            if word not in self.known:
                self.known.add(word)
                return word
        raise AssertionError("no word left")


def zipf(count: int, exponent: float) -> list[float]:
    """Weights rank ** -exponent."""
    return [rank**-exponent for rank in range(1, count + 1)]


def spread(weights: Sequence[float], share: float) -> list[bool]:
    """Marks that hold about `share` of the weight among the frequent and among the rare alike."""
    marks, marked, total = [], 0.0, 0.0
    for weight in weights:
        total += weight
        marks.append(marked + weight / 2 <= share * total)
        marked += weight * marks[-1]
    return marks


def word_class(
    rng: Random, coiners: tuple[Coiner, Coiner], particles: tuple[Words, Words], size: int, config: DataConfig
) -> WordClass:
    """A class of `size` entries; the rarer 70% have longer words."""
    weights, entries = zipf(size, config.corpus_zipf), list[Entry]()
    for rank, ambiguous in enumerate(spread(weights, config.corpus_ambiguity)):
        long = 2 + (rank >= 0.3 * size)
        words: list[Words] = [(coiners[side].word(long),) for side in (0, 1, 1, 0)]
        source, target, synonym, paraphrase = words
        kind, particle = rng.random(), rng.random()
        if rank >= 3 and kind < PHRASES and len(entries[-1].source) == 1:  # another entry's word and a particle
            source = (entries[-1].source[0], particles[0][int(particle * len(particles[0]))])
        elif rank >= 3 and kind > 1 - PHRASES:
            first = particles[1][int(particle * len(particles[1]))]
            target, synonym = (first, *target), (first, *synonym)
        styles = (target, synonym if ambiguous else target), (source, paraphrase if ambiguous else source)
        entries.append(Entry(source, *styles, gender=int(rng.random() < 0.5)))
    return WordClass(tuple(entries), tuple(accumulate(weights)))


@lru_cache(maxsize=8)
def grammar(config: DataConfig) -> Grammar:
    """The two languages of a configuration (corpus_seed, corpus_lexicon, corpus_zipf, corpus_ambiguity)."""
    rng = Random(f"{config.corpus_seed} languages")
    one, two = coiners = Coiner(rng, SOURCE_SOUNDS), Coiner(rng, TARGET_SOUNDS)
    particles = tuple(one.word(1) for _ in range(6)), tuple(two.word(1) for _ in range(6))
    articles = [[one.word(1) for _ in range(2)] for _ in range(2)]
    target_articles = [[[two.word(1) for _ in range(2)] for _ in range(2)] for _ in range(2)]
    auxiliaries = [[two.word(1) for _ in range(2)] for _ in range(2)]
    pairs = [((one.word(1),), (two.word(1),)) for _ in range(4)]
    places = WordClass(tuple(Entry(s, (t, t), (s, s), 0) for s, t in pairs), tuple(accumulate(zipf(4, 1.0))))
    past = one.word(1)
    sizes = {name: max(2, round(share * config.corpus_lexicon)) for name, share in CLASSES.items()}
    classes = {name: word_class(rng, coiners, particles, size, config) for name, size in sizes.items()}
    return Grammar(classes, articles, past, target_articles, auxiliaries, places)
