"""What stands out in a text before anything is trained on it: held-out sentences that training has, repetitions,
copies, tokenised, escaped or cut words. Counted for run.json, and said where it is much.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import eq
from typing import Any

from core.text.lines import Lines
from core.text.pieces import FEWEST, common, spread

Pairs = list[tuple[str, str]]
Findings = dict[str, Any]
"""Counts by name, and `said`: the sentences for people."""

NOTABLE = 0.01
"""Share of a split's pairs from which on a count is said."""
HELD_OUT = (("valid", "train"), ("test", "train"), ("test", "valid"))
SIDES = ("source", "target")

ESCAPED = re.compile(r"&(?:apos|quot|amp|lt|gt|bar|#\d+);")
ENDED = re.compile(r"[.,!?\u3002\uff0c\uff01\uff1f](?= |$)")
APART = re.compile(r"\S [.,\u3002\uff0c](?= |$)")
SPLIT_WORDS = re.compile(r"\w (?:n't|' s|'(?:ll|re|ve))(?= |$)|\S @-@ \S")
"""What Moses and the Penn Treebank's tokenizer leave behind, apart from punctuation."""


def shared(held: Sequence[str], other: Sequence[str]) -> int:
    """How many of the held-out texts the other split has too."""
    both = set(held).intersection(other)
    return sum(each in both for each in held)


def counted(splits: Mapping[str, Pairs]) -> Findings:
    """All counts. A sentence is the same whatever white space stands around it."""
    found: Findings = {"overlap": {}, "repeated": {}, "copied": {}}
    bare: dict[str, dict[str, list[str]]] = {}
    for name, pairs in splits.items():
        sources, targets = (list(map(str.strip, side)) for side in zip(*pairs, strict=True))
        both = list(map("\n".join, zip(sources, targets, strict=True)))
        bare[name] = {"pairs": both, "sources": sources, "targets": targets}
        found["repeated"][name] = len(pairs) - len(set(both))
        found["copied"][name] = sum(map(eq, sources, targets))
    for held, other in HELD_OUT:
        counts = {kind: shared(each, bare[other][kind]) for kind, each in bare[held].items()}
        found["overlap"][f"{held} in {other}"] = counts
    return found


def tokenised(lines: Sequence[str]) -> bool:
    """Whether most of the punctuation stands apart from words, or words are split at apostrophes and hyphens."""
    looked = [lines[index] for index in spread(lines)]
    ended = [line for line in looked if ENDED.search(line)]
    apart = sum(APART.search(line) is not None for line in ended)
    return apart >= max(len(ended) / 2, min(FEWEST, len(looked)), 1) or common(lines, SPLIT_WORDS, NOTABLE) is not None


def escaped(lines: Sequence[str]) -> bool:
    """Whether characters are written as entities."""
    return common(lines, ESCAPED, NOTABLE, sign="&") is not None


def forms(sides: Iterable[tuple[Lines, Lines]]) -> dict[str, list[str]]:
    """The sides that are tokenised, and those that are escaped, in any split."""
    found: dict[str, list[str]] = {"tokenised": [], "escaped": []}
    for name, parts in zip(SIDES, zip(*sides, strict=True), strict=True):
        for form, is_so in (("tokenised", tokenised), ("escaped", escaped)):
            if any(is_so(part.text) for part in parts):
                found[form].append(name)
    return found


def sentences(found: Findings, sizes: Mapping[str, int]) -> list[str]:
    """What is much of the counts, and all else that was found, in words."""
    said = []
    for where, counts in found["overlap"].items():
        held, other = where.split(" in ")
        if max(counts.values()) >= NOTABLE * sizes[held]:
            pairs, sources, targets = (f"{counts[name]:,}" for name in ("pairs", "sources", "targets"))
            size = f"{sizes[held]:,}"
            said.append(f"{pairs} of {size} {held} pairs are in {other} too ({sources} sources, {targets} targets)")
    for name, number in found["repeated"].items():
        if number and number >= NOTABLE * sizes[name]:
            said.append(f"{number:,} of {sizes[name]:,} {name} pairs repeat an earlier one")
    for name, number in found["copied"].items():
        if number and number >= NOTABLE * sizes[name]:
            said.append(f"in {number:,} of {sizes[name]:,} {name} pairs the target is the source")
    return said + _in_words(found)


def _in_words(found: Findings) -> list[str]:
    said = []
    for form, means in (("tokenised", "punctuation apart"), ("escaped", "such as &apos;")):
        if sides := found[form]:
            scored = "; scores are of that form, not of plain text" if "target" in sides else ""
            said.append(f"{' and '.join(sides)} {form} ({means}){scored}")
    for side, mark in found["joined"].items():
        said.append(f"{side} pieces ({mark}) joined to words by undo_bpe")
    for side, mark in found["cut"].items():
        said.append(f"{side} cut into pieces ({mark}), read as they are; undo_bpe joins them")
    for split, files in found["read_from"].items():
        said.append(f"{split} is read from {files}")
    return said
