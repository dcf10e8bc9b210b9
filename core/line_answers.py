"""What a model answers to lines of text: always one line for one line."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.errors import UserError
from core.line_input import Line
from core.model import Model, Written
from core.text.fitting import parts_of
from core.text.lines import LINE_ENDS, on_one_line
from core.text.pieces import whole

Long = Literal["cut", "split", "refuse"]
PROGRESS_SECONDS = 5.0
NAMED = 10
"""So many lines that are too long are named each by itself."""


@dataclass
class Answers:
    """The answers of a model. best: rows of JSON with so many different candidates of each line (sys.maxsize: all,
    equal ones too); none: the chosen text alone.

    long: what becomes of a line with too many tokens: its beginning is translated, or its parts one by one, or the
    program ends.
    """

    model: Model
    decoding: Any
    seed: int
    long: Long
    best: int | None = None
    done: Callable[[int], None] = lambda count: None
    too_long: int = field(default=0, init=False)

    def of(self, lines: Sequence[Line]) -> Iterator[str]:
        """A line of output for each line. Raises UserError on one that is too long, if those are refused."""
        parts = [self.parts(line) for line in lines]
        flat = [part for each in parts for part in each]
        written = iter(self.model.candidates(flat, self.decoding, self.seed, self.done))
        for line, each in zip(lines, parts, strict=True):
            found = [next(written) for _ in each]
            yield self.shown(line, found) if self.best else " ".join(on_one_line(one[0].text) for one in found)

    def parts(self, line: Line) -> list[str]:
        """What is translated of a line: nothing of a blank one; several parts of one that is too long, if asked for."""
        text = whole(line.text) if self.model.config.data.undo_bpe else line.text
        if not text.strip():
            return []
        most = self.model.longest
        if len(text) <= 16 * most and (length := self.model.lengths([text])[0]) <= most:
            return [text]
        size = f"{len(text):,} characters" if len(text) > 16 * most else f"{length:,} tokens"
        said = f"standard input, line {line.number}: {size}, and the model takes {most} tokens"
        if self.long == "refuse":
            raise UserError(f"{said}; shorten it, or use --long cut or --long split")
        found = parts_of(text, self.model.lengths, most)
        if len(found) > 1:
            self.tell(f"{said}; " + (f"translated in {len(found)} parts" if self.long == "split" else "cut to those"))
        return found if self.long == "split" else found[:1]

    def tell(self, said: str) -> None:
        """Name a line that is too long; only the first ones."""
        self.too_long += 1
        if self.too_long <= NAMED:
            print(said + ("; others are not named" if self.too_long == NAMED else ""), file=sys.stderr)

    def shown(self, line: Line, found: Sequence[Sequence[Written]]) -> str:
        """A row of JSON: the line's number, its text, and its candidates with their scores, the chosen one first."""
        made = [{"text": on_one_line(one.text), "score": one.score} for each in found for one in each]
        first = {one["text"]: one for one in reversed(made)}
        kept = made if self.best == sys.maxsize else [one for one in made if first[one["text"]] is one][: self.best]
        row = json.dumps({"line": line.number, "source": line.text, "candidates": kept}, ensure_ascii=False)
        return LINE_ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", row)


@dataclass
class Progress:
    """Says on stderr how far a long input has come."""

    seconds: float = PROGRESS_SECONDS
    lines: int = 0
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def add(self, count: int) -> None:
        """Count lines that are translated; say so now and then."""
        self.lines += count
        now = time.monotonic()
        if now - self.said > self.seconds:
            self.said = now
            rate = self.lines / (now - self.started)
            print(f"{self.lines:,} lines translated, {rate:,.1f} a second", file=sys.stderr, flush=True)
