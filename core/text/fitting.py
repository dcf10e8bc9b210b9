"""A text in parts that are short enough for a model."""

from collections.abc import Callable, Sequence

Lengths = Callable[[Sequence[str]], list[int]]
"""Tokens of each text."""


def parts_of(text: str, lengths: Lengths, most: int) -> list[str]:
    """The text in parts of at most `most` tokens, cut at blanks; a word that is longer is cut within.

    Tokens of a part are those of its words: blanks separate them.
    """
    words = [piece for word in text.split() for piece in _pieces(word, lengths, most)]
    parts, used = list[list[str]](), most
    for word, length in zip(words, lengths(words), strict=True):
        if used + length > most:
            parts.append([])
            used = 0
        parts[-1].append(word)
        used += length
    return [" ".join(part) for part in parts]


def _pieces(word: str, lengths: Lengths, most: int) -> list[str]:
    """The word, or pieces of it that fit whatever their characters: one is 4 bytes at most, and each byte a token."""
    size = max(1, (most - 1) // 4)
    if len(word) <= size or (len(word) <= 16 * most and lengths([word])[0] <= most):
        return [word]
    return [word[start : start + size] for start in range(0, len(word), size)]
