"""The script of a letter, and the words of a text in any script, by the Unicode tables that come with Python."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

HAN = frozenset({"CJK", "IDEOGRAPHIC", "BOPOMOFO", "TANGUT", "NUSHU"})
KANA = frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HENTAIGANA"})
HANGUL = "HANGUL"
WITHOUT_SPACES = frozenset({"THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "TAI", "NEW", "AHOM", "JAVANESE", "BALINESE"})
WITHOUT_SPACES |= {"YI", "VAI", "BUGINESE"}
"""Other scripts that put no spaces between words (TAI: Tai Le, Tai Tham, Tai Viet; NEW: New Tai Lue)."""
SYLLABLES_APART = frozenset({"KATAKANA", "KATAKANA-HIRAGANA", "TIBETAN"})
"""Of those without spaces the ones whose runs of letters are words or syllables: Tibetan has a mark between them."""
JOINERS = "\u200c\u200d"
"""Within a word they shape letters (Persian, Hindi); they end none."""


@cache
def script(letter: str) -> str:
    """The script of a letter: the first word of its Unicode name, such as LATIN, CJK, THAI; '' of what has none."""
    first, *rest = unicodedata.name(letter, "").split(" ")
    return rest[0] if first in ("HALFWIDTH", "FULLWIDTH") and rest else first


class _Kinds(dict[int, str]):
    """Code point -> 's', a word by itself; 'w', part of a word; 'm', a mark of what it follows; else ' '."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)[0]
        if category == "M" or character in JOINERS:
            kind = "m"
        elif category in "LN":
            alone = HAN | KANA | WITHOUT_SPACES
            kind = "s" if category == "L" and script(character) in alone - SYLLABLES_APART else "w"
        else:
            kind = " "
        self[code] = kind
        return kind


_KINDS = _Kinds()
_WORD = re.compile(r"sm*|w[wm]*")


def words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits, with their marks; all else separates.

    A letter of a script without spaces (Han, Hiragana, Thai, ...) is a word by itself, as in Unicode's default word
    boundaries (UAX 29). Of ASCII text these are the words of rouge-score.
    """
    lower = text.lower()
    return [lower[found.start() : found.end()] for found in _WORD.finditer(lower.translate(_KINDS))]


def scripts(texts: Iterable[str]) -> Counter[str]:
    """How many words of each script the texts have; numbers are of none.

    Words, not letters: a Chinese word has one or two letters, an English one five.
    """
    found = Counter[str]()
    for text in texts:
        found.update(script(word[0]) for word in words(text) if word[0].isalpha())
    return found
