"""Lines from standard input as they come: in windows that are translated together, or one by one from a terminal."""

import os
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import UserError

WINDOW = 1000
"""Lines that are translated together: sorted by length they waste little. Noise is drawn for what stands together."""
PAUSE = 1.0
"""Seconds without input after which the lines that are there are translated."""
PROMPT = "> "


@dataclass(frozen=True)
class Line:
    """A line of the input, counted from 1, without its end (LF or CR LF)."""

    number: int
    text: str


def decoded(number: int, raw: bytes) -> Line:
    """The line. Raises UserError if it is not UTF-8."""
    raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
    try:
        return Line(number, raw.removesuffix(b"\r").decode())
    except UnicodeDecodeError as error:
        raise UserError(f"standard input, line {number}: not UTF-8 ({error})") from error


def typed() -> Iterator[list[Line]]:
    """A line at a time from a terminal, each asked for."""
    for number, raw in enumerate(iter(_ask, b""), 1):
        yield [decoded(number, raw.removesuffix(b"\n"))]
    print(file=sys.stderr)


def _ask() -> bytes:
    print(PROMPT, end="", file=sys.stderr, flush=True)
    return sys.stdin.buffer.readline()


def windows(source: int, size: int = WINDOW) -> Iterator[list[Line]]:
    """Windows of a file descriptor's lines: of `size`, or what is there at its end or when it pauses. Only LF ends a
    line."""
    waiting, begun, number, ended = list[bytes](), list[bytes](), 0, False
    while waiting or not ended:
        if not ended and len(waiting) < size:
            came = _read(source, wait=not waiting)
            first, *others = (came or b"").split(b"\n")
            begun.append(first)
            if others:
                waiting += [b"".join(begun), *others[:-1]]
                begun = others[-1:]
            ended = came == b""
            waiting += [last] if ended and (last := b"".join(begun)) else []
            if came and len(waiting) < size:
                continue
        taken, waiting = waiting[:size], waiting[size:]
        if taken:
            yield [decoded(number + index, raw) for index, raw in enumerate(taken, 1)]
        number += len(taken)


def _read(source: int, wait: bool) -> bytes | None:
    """What comes next; b"" at the end; None if nothing comes for a while and we need not wait."""
    try:
        ready, _, _ = select.select([source], [], [], None if wait else PAUSE)
        return os.read(source, 1 << 16) if ready else None
    except OSError as error:
        raise UserError(f"standard input: cannot be read ({error.strerror})") from error
