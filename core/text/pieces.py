"""Text whose words somebody has cut into pieces already: found by its marks, and joined again.

Scores of pieces are no scores of words, and far higher: so targets in pieces are refused, unless the option undo_bpe
joins them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import decoders

from core.text.lines import Lines

LOOKED_AT = 10_000
"""Lines of a file that are looked at, evenly spread."""
FEWEST = 3
"""Lines with a mark that make a finding (or all lines, where there are fewer)."""


@dataclass(frozen=True)
class Cut:
    """A way of cutting words. name: its sign; mark: found in a line with a piece of a word; share: of a file's lines
    from which on it is no chance; join: a line with its words whole."""

    name: str
    mark: re.Pattern[str]
    share: float
    join: Callable[[str], str]


def _sentencepiece(line: str) -> str:
    return line.replace(" ", "").replace("\u2581", " ").strip()


def _bytes(line: str) -> str:
    return str(decoders.ByteLevel().decode(line.split())).strip()


CUTS = (
    Cut("@@", re.compile(r"[^\s@]@@(?= +\S)"), 0.01, lambda line: re.sub(r"(?<=\S)@@( +|$)", "", line)),
    Cut("\u2581", re.compile(r"(?:^| )\u2581 ?[^\s\u2581]"), 0.1, _sentencepiece),
    Cut("\u0120", re.compile(r"(?:^| )\u0120\w.* \u0120\w"), 0.1, _bytes),
    Cut("##", re.compile(r"\w ##\w+(?= |$)"), 0.1, lambda line: re.sub(r"(?<=\S) ##(?=\w)", "", line)),
    Cut("\uffed", re.compile(r"\S\uffed(?= )| \uffed\S"), 0.01, lambda line: re.sub(r" ?\uffed ?", "", line)),
    Cut("</w>", re.compile(r"\w</w>(?= |$)"), 0.1, lambda line: line.replace(" ", "").replace("</w>", " ").strip()),
)
"""subword-nmt and fairseq; SentencePiece; BPE over bytes, as of GPT-2; WordPiece; OpenNMT's joiner; the first BPE.
Marks that ordinary text may hold now and then need a larger share of the lines; \u0120 is a letter of Maltese, so it
takes two such words in a line."""


def spread(lines: Sequence[str]) -> range:
    """The indices of the lines that are looked at."""
    return range(0, len(lines), max(1, len(lines) // LOOKED_AT))


def common(
    lines: Sequence[str], mark: re.Pattern[str], share: float, fewest: int = FEWEST, sign: str = ""
) -> int | None:
    """The index of the first line with a mark, if a share of the lines looked at, and at least `fewest`, have it.

    sign: what every mark holds, which is quick to look for.
    """
    looked = spread(lines)
    found = [index for index in looked if sign in lines[index] and mark.search(lines[index])]
    return found[0] if found and len(found) >= max(share * len(looked), min(fewest, len(looked))) else None


def cut_of(files: Sequence[Lines], at_all: bool = False) -> tuple[Cut | None, str]:
    """How the words of one side are cut, and the first line that shows it; (None, '') where they are whole.

    at_all: a single mark in any of the files is enough, where none has the share that makes it plain.
    """
    for plain in (True, False) if at_all else (True,):
        for cut in CUTS:
            share, fewest = (cut.share, FEWEST) if plain else (0.0, 1)
            for lines in files:
                if (index := common(lines.text, cut.mark, share, fewest, cut.name)) is not None:
                    return cut, lines.where(index)
    return None, ""


def whole(line: str) -> str:
    """A line with its words whole, however they are cut; as it is where they are whole."""
    for cut in CUTS:
        line = cut.join(line) if cut.name in line and cut.mark.search(line) else line
    return line
