"""Sentence pairs of a file of JSON lines: a row a pair, each side under a key."""

import json
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.reading import Unreadable, parse_json
from core.sections import DataConfig
from core.text.lines import Lines, check_line_ends, on_one_line
from core.text.places import NAMES, SPLIT

USUAL = (DataConfig.src, DataConfig.tgt)
OTHERS = (("src", "trg"), ("src", "tgt"), ("source", "target"))
"""Keys that are taken where the options src and tgt are left at their defaults, and rows have no such keys (src and
trg: DiffuSeq)."""
NESTED = "translation"
"""Key of rows whose sides stand in an object of their own (Hugging Face's data sets)."""


def keys_of(row: dict[str, Any], src: str, tgt: str) -> tuple[str, str] | None:
    """The keys of both sides in a row; None if it has not both."""
    wanted = ((src, tgt), *(OTHERS if (src, tgt) == USUAL else ()))
    return next((pair for pair in wanted if all(key in row for key in pair)), None)


def sides_of(path: Path, text: str, split: str, src: str, tgt: str) -> tuple[Lines, Lines]:
    """Both sides of a split. Of rows that name their split (`data.jsonl`), those of this one.

    A line end within a sentence becomes a blank. Raises UserError, naming the line, on what is no pair.
    """
    numbers, sides = list[int](), (list[str](), list[str]())
    keys: tuple[str, str] | None = None
    whole = path.name.removesuffix(".gz") == "data.jsonl"
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    check_line_ends(path, lines)
    for number, line in enumerate(lines, 1):
        here = f"{path}, line {number}"
        row = _row(here, line)
        if whole and not _belongs(here, row, split):
            continue
        row = row[NESTED] if isinstance(row.get(NESTED), dict) else row
        keys = keys or keys_of(row, src, tgt)
        if keys is None:
            known = ", ".join(map(str, row)) or "none"
            raise UserError(
                f"{here}: has no keys {src!r} and {tgt!r}; choose with the options src and tgt among: {known}"
            )
        for key, side in zip(keys, sides, strict=True):
            if not isinstance(row.get(key), str):
                raise UserError(f"{here}: {key!r} must be text, and is {_shown(row.get(key))}")
            side.append(on_one_line(row[key]))
        numbers.append(number)
    one, two = keys or (src, tgt)
    return Lines(path, numbers, sides[0], one), Lines(path, numbers, sides[1], two)


def _row(here: str, line: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except Unreadable as error:
        said = str(error) if line.strip() else "it is empty"
        raise UserError(f"{here}: not a row of JSON ({said})") from None
    if not isinstance(row, dict):
        raise UserError(f"{here}: must be an object with a key for each side, and is {_shown(row)}")
    return row


def _belongs(here: str, row: dict[str, Any], split: str) -> bool:
    """Whether a row of a file of all splits is of this one."""
    known = {name: each for each, names in NAMES.items() for name in names}
    if not isinstance(said := row.get(SPLIT), str) or said not in known:
        raise UserError(
            f"{here}: {SPLIT!r} must say train, valid or test, and is {_shown(said)}; "
            "or name the files train.jsonl, valid.jsonl and test.jsonl"
        )
    return known[said] == split


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)[:40]
