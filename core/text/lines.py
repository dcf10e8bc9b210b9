"""The lines of one side of a text with the file that they come from, and the rule for text on one line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError

LINE_ENDS = re.compile(r"\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
"""Whatever a reader of text may take for the end of a line."""


def on_one_line(text: str) -> str:
    """The text with a blank for each line end in it, so that it stays one line for every reader."""
    return LINE_ENDS.sub(" ", text)


@dataclass(frozen=True)
class Lines:
    """One side of a split. numbers: the line in the file of each; key: of a file of JSON lines."""

    file: Path
    numbers: Sequence[int]
    text: list[str]
    key: str | None = None

    def where(self, index: int) -> str:
        """The file and the line of a sentence, for messages."""
        return f"{self.file}, line {self.numbers[index]}" + (f", {self.key!r}" if self.key else "")


def check_line_ends(file: Path, text: list[str]) -> None:
    """Raises UserError on lines that end with CR alone, as on old Macs: read as LF ends, they are one long line."""
    lone = sum(line.count("\r") for line in text) if text and "\r" in text[0] else 0
    if lone > 10 * len(text) or (lone and len(text) == 1):
        raise UserError(
            f"{file}: its lines end with CR alone, and a line must end with LF (or CR LF); "
            f"convert it: tr '\\r' '\\n' < {file.name} > NEW"
        )
