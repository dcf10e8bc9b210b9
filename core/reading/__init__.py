"""Files that others wrote, read strictly: JSON, rows of JSON, arrays (.npz) and gzip.

Size, nesting and what something unpacks to are limited before memory is taken for it. All that is wrong with a file is
an Unreadable, whatever the libraries below say.
"""

import gzip
import io
import json
import math
import os
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

DEEPEST = 100
"""Lists and mappings within each other, at most."""
MOST_LISTS = 1_000_000
"""Lists and mappings, at most: each takes fifty bytes and more, and Python looks through them again and again."""
LONGEST_NUMBER = 300
"""Digits of a whole number, at most: it is then a float too."""
LARGEST_JSON = 32 << 20
"""Bytes of a JSON file or of one row, at most."""
LARGEST_ARRAYS = 1 << 30
"""Bytes that the arrays of a file unpack to, at most."""
MOST_ARRAYS = 10_000
CHUNK = 1 << 20
UNPACKED, ALWAYS_UNPACKED = 100, 64 << 20
"""A packed file gives at most so many times its size (text gives 3 to 5), or so many bytes if that is more."""
HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


class Unreadable(ValueError):
    """What is wrong with a file, in words that follow its name and a colon."""


def content(path: Path, largest: int) -> bytes:
    """The bytes of a regular file. Raises OSError if there is none, Unreadable if it has more than `largest` bytes."""
    with opened(path) as file:
        found = file.read(largest + 1)
    if len(found) > largest:
        raise Unreadable(f"more than {largest:,} bytes")
    return found


def opened(path: Path) -> IO[bytes]:
    """A regular file to read from. Raises OSError if there is none, Unreadable if it is a pipe, a folder or a device.

    It is opened without blocking, since opening a pipe waits for whoever writes into it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise Unreadable("no regular file")


# JSON


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """The value in a JSON file. Raises OSError if there is none, Unreadable if it is not JSON or beyond the limits."""
    return parse_json(content(path, largest), largest)


def parse_json(text: str | bytes, largest: int = LARGEST_JSON) -> Any:
    """The value of JSON text (of bytes: UTF-8); half of a surrogate pair in it becomes U+FFFD.

    Raises Unreadable if it is not JSON, longer than `largest`, nested too deeply, or holds too long a number
    or too many lists.
    """
    if len(text) > largest:
        raise Unreadable(f"more than {largest:,} bytes")
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        if (lists := text.count("[") + text.count("{")) > MOST_LISTS:
            raise Unreadable(f"more than {MOST_LISTS:,} lists and mappings")
        value = (CAREFUL if MANY_DIGITS.search(text) else DECODER).decode(text)
        if lists > DEEPEST and _deeper(value, DEEPEST):
            raise RecursionError
        if HALF_CHARACTER.search(text):
            paired = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
            value = json.loads(paired.decode("utf-16-le", "replace"))
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable(f"nested deeper than {DEEPEST}") from None
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except ValueError as error:
        raise Unreadable(f"not JSON ({error})") from None
    return value


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise Unreadable(f"a number of {len(digits)} digits")
    return int(digits)


DECODER, CAREFUL = json.JSONDecoder(), json.JSONDecoder(parse_int=_whole)
"""Made once: rows are many. The second takes ten times as long where there are many numbers."""
MANY_DIGITS = re.compile(rf"[0-9]{{{LONGEST_NUMBER + 1}}}")


def _deeper(value: Any, limit: int) -> bool:
    """Whether lists and mappings stand more than `limit` deep in each other."""
    level = [value]
    for _ in range(limit):
        level = [item for each in level if isinstance(each, list | dict) for item in _items(each)]
    return any(isinstance(item, list | dict) for item in level)


def _items(value: list[Any] | dict[str, Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def rows(path: Path) -> Iterator[tuple[int, bool, dict[str, Any] | Unreadable]]:
    """The rows of a .jsonl file, one by one: line number, whether the line has its end, and the row or what is wrong.

    Lines end with LF alone. Blank ones are left out; bytes that are not UTF-8 become U+FFFD. Raises OSError if there is
    no such file, Unreadable if it is no regular one.
    """
    with opened(path) as file:
        number = 0
        while line := file.readline(LARGEST_JSON + 1):
            number += 1
            ended = line.endswith(b"\n")
            if not ended and len(line) > LARGEST_JSON:
                while (rest := file.readline(LARGEST_JSON)) and not rest.endswith(b"\n"):
                    pass
                yield number, bool(rest), Unreadable(f"a line of more than {LARGEST_JSON:,} bytes")
            elif line.strip():
                yield number, ended, parse_row(line)


def blocks(path: Path, size: int) -> Iterator[bytes]:
    """The file in blocks of whole lines of about `size` bytes; what follows the last line end comes last.

    Raises OSError if there is no such file, Unreadable if it is no regular one or has too long a line.
    """
    with opened(path) as file:
        kept = b""
        while more := file.read(size):
            kept += more
            if end := kept.rfind(b"\n") + 1:
                yield kept[:end]
                kept = kept[end:]
            elif len(kept) > LARGEST_JSON:
                raise Unreadable(f"a line of more than {LARGEST_JSON:,} bytes")
        if kept:
            yield kept


def parse_row(line: bytes) -> dict[str, Any] | Unreadable:
    """A line of a .jsonl file as a mapping, or what is wrong with it."""
    try:
        row = parse_json(line.decode("utf-8", "replace"))
    except Unreadable as error:
        return error
    return row if isinstance(row, dict) else Unreadable("not a mapping")


# Arrays


def arrays(path: Path, largest: int = LARGEST_ARRAYS) -> dict[str, "np.ndarray"]:
    """The arrays of an .npz file by name; none of Python objects.

    Raises OSError if there is none, Unreadable if it is no such file, damaged, or unpacks to more than `largest` bytes.
    """
    with opened(path) as file:
        try:
            return _arrays(file, largest)
        except Unreadable:
            raise
        except MemoryError:
            raise Unreadable("too large for the memory") from None
        except Exception as error:  # zlib.error, NotImplementedError, OSError, ...: each damage has one of its own
            raise Unreadable(f"not arrays ({error or type(error).__name__})") from None


def _arrays(file: IO[bytes], largest: int) -> dict[str, "np.ndarray"]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MOST_ARRAYS or len({one.filename for one in members}) < len(members):
            raise Unreadable(f"more than {MOST_ARRAYS:,} arrays, or two of one name")
        largest = min(largest, max(UNPACKED * os.fstat(file.fileno()).st_size, ALWAYS_UNPACKED))
        if (size := sum(one.file_size for one in members)) > largest:
            raise Unreadable(f"unpacks to {size:,} bytes; at most {largest:,}")
        return {one.filename.removesuffix(".npy"): _array(archive, one) for one in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> "np.ndarray":
    """One array. Its header must ask for just the bytes that follow it: memory is taken for no others."""
    import numpy as np  # on demand: most readers need none

    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable(f"{member.filename} is compressed in a way that numpy does not use")
    with archive.open(member) as packed:
        version = np.lib.format.read_magic(packed)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, by_column, dtype = read_header[version](packed)
        held = member.file_size - packed.tell()
        if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held:
            raise Unreadable(f"{member.filename} does not hold the numbers that it announces")
        made = np.empty(shape, dtype, order="F" if by_column else "C")
        flat = made.reshape(-1, order="A").view("u1")
        for start in range(0, held, CHUNK):
            flat[start : start + CHUNK] = np.frombuffer(packed.read(CHUNK), "u1")
    if dtype.kind == "U" and held and made.reshape(-1, order="A").view(f"{dtype.str[0]}u4").max() > sys.maxunicode:
        raise Unreadable(f"{member.filename} holds what is no text")
    return made


# gzip


def gunzip(packed: bytes) -> bytes:
    """What gzip packed. Raises Unreadable if it is no whole gzip file, or unpacks to far more than text does."""
    largest = max(UNPACKED * len(packed), ALWAYS_UNPACKED)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            unpacked = file.read(largest + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"not a whole gzip file ({error})") from None
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    if len(unpacked) > largest:
        raise Unreadable(f"unpacks to more than {largest:,} bytes, {UNPACKED} times its size: that is no text")
    return unpacked
