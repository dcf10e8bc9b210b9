"""dict.txt of the released code, read as fairseq reads it."""

from pathlib import Path

from core.errors import UserError
from core.text.places import not_a_file
from core.text.tokenizer import SPECIALS

OVERWRITE = "#fairseq:overwrite"
"""At the end of a line whose type may stand there already, or be a special one."""


def read_dictionary(path: Path) -> list[str]:
    """Types of a dictionary ('type count' a line), the four special ones left out.

    Lines end with LF, CR LF or CR and nothing else: U+2028 and the like are types. Raises UserError naming the line of
    what is no such file.
    """
    types, seen = list[str](), set(SPECIALS)
    for number, line in enumerate(_lines(path), 1):
        parts = line.rstrip().rsplit(" ", 1)
        if overwrite := parts[-1] == OVERWRITE:
            parts = parts[0].rsplit(" ", 1)
        if len(parts) != 2 or not _whole(parts[1]):
            raise UserError(f"{path}, line {number}: expected 'type count', got {line!r}")
        word = parts[0]
        if word in seen and not overwrite:
            raise UserError(
                f"{path}, line {number}: {word!r} stands there already; a line that replaces it ends with {OVERWRITE}"
            )
        types.append(word)
        seen.add(word)
    return types


def _lines(path: Path) -> list[str]:
    if said := not_a_file(path):
        raise UserError(f"{path} {said}; name the dictionary itself")
    try:
        text = path.read_text(encoding="utf-8")  # makes LF of CR LF and of CR
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from error
    return text.removesuffix("\n").split("\n") if text else []


def _whole(count: str) -> bool:
    try:
        int(count)
    except ValueError:
        return False
    return True
