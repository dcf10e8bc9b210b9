"""BLEU's tokenizers: sacreBLEU's, by name, and the one that suits the script of a text."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from sacrebleu.metrics import BLEU

from core.errors import UserError
from core.scoring.scripts import HAN, HANGUL, KANA, WITHOUT_SPACES, scripts

AUTO, USUAL = "auto", "13a"
NAMES = tuple(BLEU.TOKENIZERS)
LOOKED_AT = 20_000
"""Texts whose words are counted; of more, so many, evenly spaced."""
JAPANESE = 0.1
"""Share of kana among Han and kana from which on a text is Japanese."""

Tokenize = Callable[[str], str]


class Chosen(NamedTuple):
    """A tokenizer of sacreBLEU, and why it was taken."""

    name: str
    why: str

    @property
    def sentence(self) -> str:
        """What the user is told at the start; '' for the usual tokenizer."""
        return "" if self.name == USUAL else f"BLEU counts tokens of sacreBLEU's {self.name}: {self.why}"


@cache
def metric(name: str, effective_order: bool = False) -> BLEU:
    """sacreBLEU's BLEU with that tokenizer; its own, or those of what it needs, are loaded once.

    effective_order: orders that no hypothesis is long enough for are left out. Raises UserError where the tokenizer's
    packages are missing.
    """
    try:
        return BLEU(force=True, tokenize=name, effective_order=effective_order)
    except Exception as error:  # sacreBLEU's are of many kinds: no package, no dictionary, no network
        needs = {"ja-mecab": "pip install 'sacrebleu[ja]'", "ko-mecab": "pip install 'sacrebleu[ko]'"}
        way = needs.get(name, "pip install sentencepiece, and a network that its model is fetched from once")
        reason = (" ".join(str(error).split()) or type(error).__name__)[:80]
        raise UserError(f"option bleu_tokenizer: {name} needs {way}; or take auto or char ({reason})") from error


def tokenize(name: str) -> Tokenize:
    """The tokenizer of that name: tokens with spaces between them."""
    call: Tokenize = metric(name)._preprocess_segment
    return call


def choose(wanted: str, texts: Sequence[str]) -> Chosen:
    """The tokenizer that is wanted; 'auto': the one that suits the script that most words of the texts are of.

    Raises UserError where the packages of a tokenizer that is named are missing.
    """
    if wanted != AUTO:
        metric(wanted)
        return Chosen(wanted, "so it was asked for")
    return by_script(texts[:: max(1, len(texts) // LOOKED_AT)])


def by_script(texts: Sequence[str]) -> Chosen:
    """zh: Chinese; MeCab where it is installed: Japanese, Korean; char: other scripts without spaces; 13a: all else."""
    words = scripts(texts)
    han, kana = (sum(words[name] for name in group) for group in (HAN, KANA))
    apart, korean = sum(words[name] for name in WITHOUT_SPACES), words[HANGUL]
    total = sum(words.values())
    most = max(han + kana, apart, korean, total - han - kana - apart - korean)
    if not total:
        digits = any(character.isdigit() for text in texts for character in text)
        return Chosen(USUAL, "digits") if digits else Chosen("char", "the text has no letters")
    if most == total - han - kana - apart - korean:
        return Chosen(USUAL, "words with spaces between them")
    if most == korean:
        return _mecab("ko-mecab", "Korean", "ko")
    if most == apart:
        name = max(WITHOUT_SPACES, key=lambda one: (words[one], one))
        return Chosen("char", f"most words of the targets are {name.title()}, which has no spaces between words")
    if kana > JAPANESE * (han + kana):
        return _mecab("ja-mecab", "Japanese", "ja")
    return Chosen("zh", "most words of the targets are Chinese")


@cache
def _mecab(name: str, language: str, extra: str) -> Chosen:
    """MeCab's words where it is installed, else single characters."""
    try:
        metric(name)
    except UserError:
        missing = f"MeCab is not installed (pip install 'sacrebleu[{extra}]' gives words instead of characters)"
        return Chosen("char", f"most words of the targets are {language}, and {missing}")
    return Chosen(name, f"most words of the targets are {language}")
