"""Mutated checkpoints, read one after the other under watch. Run by test_released_files.py as a program of its own.

    python fuzz_checkpoints.py FOLDER COUNT

The files are whole checkpoints and hostile pickles, changed at random from a fixed seed: bytes flipped, set to
extremes, cut, repeated, spliced from other files, and in their pickles operations put in at random places. Ends with
status 1 and a sentence if a file is neither read nor refused, takes more than ten seconds or a GiB of memory, or if
anything happens in this process but that the file is opened for reading. Prints a JSON object with the numbers of files
read and refused.
"""

import codecs
import json
import os
import pickletools
import random
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from released_files import HOSTILE, content, legacy, saved, tensor, weight, zipped

from core.reading import Unreadable
from core.released import archives

SEED = 20261127
CODES = [operation.code.encode("latin-1") for operation in pickletools.opcodes]
ARGUMENTS = [
    b"",
    b"\0",
    b"\x01",
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f" * 4,
    b"os\nsystem\n",
    b"1\n",
    b"argparse\nNamespace\n",
]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
NUMBERS = b"\x01\x02\x03\x04\x05\x06\x07\x08"


class Watch:
    """What happens in this process while it is on (sys.addaudithook)."""

    def __init__(self, path: Path) -> None:
        self.path, self.on, self.odd = str(path), False, list[str]()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = arguments
            if (not isinstance(path, int) and str(path) != self.path) or flags & WRITING:
                self.odd.append(f"open {path} {flags}")
        else:
            self.odd.append(event)


def mutated(draw: random.Random, whole: list[bytes], pickles: list[bytes]) -> bytes:
    """One file."""
    if draw.random() < 0.5:
        return changed(draw, draw.choice(whole), whole)
    pickled = changed(draw, draw.choice(pickles), pickles)
    for _ in range(draw.randrange(3)):
        place = draw.randrange(len(pickled) + 1)
        pickled = pickled[:place] + draw.choice(CODES) + draw.choice(ARGUMENTS) + pickled[place:]
    return zipped(pickled, _0=NUMBERS) if draw.random() < 0.7 else legacy(pickled, ("0", 2, NUMBERS))


def changed(draw: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Bytes with some of them flipped, set, cut out, repeated or taken from elsewhere."""
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        start = draw.randrange(len(made) + 1)
        end = min(start + draw.choice((1, 2, 4, 8, 50, 1000)), len(made))
        kind = draw.randrange(6)
        if kind == 0 and start < len(made):
            made[start] ^= 1 << draw.randrange(8)
        elif kind == 1:
            made[start:end] = draw.choice((b"\0", b"\xff", b"\x7f")) * (end - start)
        elif kind == 2:
            made[start:end] = b""
        elif kind == 3:
            made[start:start] = made[start:end]
        elif kind == 4 and draw.random() < 0.3:
            made = made[:start]
        else:
            other = draw.choice(others)
            begin = draw.randrange(len(other) + 1)
            made[start:end] = other[begin : begin + draw.randrange(200)]
    return bytes(made)


def originals(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Whole files, small enough for thousands of them to be read, and pickles."""
    everything = content()
    small = {"args": everything["args"], "model": {"w": torch.randn(3, 2).half(), "b": torch.randn(2)}}
    forms = [(True, 2), (True, 4), (False, 2), (False, 4)]
    whole = [saved(folder / "whole.pt", *form, what=small).read_bytes() for form in forms]
    whole.append(saved(folder / "whole.pt", True).read_bytes())
    pickles = [pickled for pickled in HOSTILE.values() if len(pickled) < 20_000]
    pickles += [weight(tensor((2,), (1,), 0, 2))] * 30
    return whole, pickles


def main(folder: Path, count: int) -> None:
    """Reads them all."""
    draw, path = random.Random(SEED), folder / "mutated.pt"
    whole, pickles = originals(folder)
    watch = Watch(path)
    sys.addaudithook(watch)
    found = {"read": 0, "refused": 0}
    path.write_bytes(whole[0])
    archives.read(path)
    for name in ("cp437", "raw_unicode_escape", "unicode_escape"):  # imported on demand, by zipfile and pickletools
        codecs.lookup(name)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        path.write_bytes(mutated(draw, whole, pickles))
        signal.alarm(10)
        watch.on = True
        try:
            archives.read(path)
            found["read"] += 1
        except Unreadable as error:
            found["refused"] += bool(str(error))
        finally:
            watch.on = False
        if watch.odd:
            sys.exit(f"file {number}: {watch.odd[:3]}")
    signal.alarm(0)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident > 1 << 20:
        sys.exit("more than a GiB of memory was taken")
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
