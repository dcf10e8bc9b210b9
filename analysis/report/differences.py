"""How an output differs from its reference, word by word; sign by sign in scripts that put no blanks between words."""

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

WORD = re.compile(r"\S+\s*|\s+")
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, kana, Han."""
LONGEST = 400
"""Words of a text that are compared; what is longer is shown without marks."""
SAME, ADDED, MISSING = "=", "+", "-"


class Part(NamedTuple):
    """A piece of text: in both, in the output alone (added), or in the reference alone (missing)."""

    kind: str
    text: str


def words(text: str) -> list[str]:
    """The text in pieces that are compared, each with the blanks after it; joined they are the text."""
    found: list[str] = []
    for word in WORD.findall(text):
        found += signs(word) if UNSPACED.search(word) else [word]
    return found


def signs(word: str) -> list[str]:
    """The signs of a word, each with its marks and the blanks after it."""
    found: list[str] = []
    for character in word:
        if found and (character.isspace() or unicodedata.category(character).startswith("M")):
            found[-1] += character
        else:
            found.append(character)
    return found


def differences(output: str, references: Sequence[str]) -> list[Part]:
    """The output in parts, with what it lacks of a reference where that would stand.

    Of several references it is the one that differs least.
    """
    found = [_against(output, reference) for reference in references] or [[Part(SAME, output)]]
    return min(found, key=lambda parts: sum(len(part.text) for part in parts if part.kind != SAME))


def _against(output: str, reference: str) -> list[Part]:
    ours, theirs = words(output), words(reference)
    if max(len(ours), len(theirs)) > LONGEST:
        return [Part(SAME, output)]
    matcher = SequenceMatcher(None, _bare(theirs), _bare(ours), autojunk=False)
    parts: list[Part] = []
    for kind, start, end, own_start, own_end in matcher.get_opcodes():
        lacking, own = "".join(theirs[start:end]), "".join(ours[own_start:own_end])
        if kind != "equal" and lacking:
            before = parts[-1].text if parts else ""
            parts.append(Part(MISSING, blank(before, lacking) + lacking + blank(lacking, own)))
        if own:
            parts.append(Part(SAME if kind == "equal" else ADDED, own))
    return parts


def blank(before: str, after: str) -> str:
    """What keeps apart two texts that did not stand together: a blank between words, nothing between signs."""
    ends = before[-1:] + after[:1]
    return "" if len(ends) < 2 or any(map(str.isspace, ends)) or UNSPACED.search(ends) else " "


def _bare(pieces: Sequence[str]) -> list[str]:
    return [piece.strip() for piece in pieces]
