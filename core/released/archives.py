"""Checkpoint files of torch, read without torch.load: the zip form, and the legacy one before torch 1.6.

Both hold a pickle (pickles.py) and, outside it, the numbers of its tensors.
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from core import reading
from core.reading import ALWAYS_UNPACKED, Unreadable
from core.released import pickles
from core.released.pickles import Storage, View

Weights = dict[str, Tensor]
Fetch = Callable[[Storage], bytes]
"""The numbers of a storage, little end first."""

LARGEST_PICKLE = 32 << 20
MOST_ENTRIES = 100_000
LOCAL_HEADER = 30
"""Bytes before the name of a zip's entry, which come before its content."""
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What the legacy form begins with."""
UNPACKED = 20
"""A packed zip gives at most so many times its size, or ALWAYS_UNPACKED bytes: weights hardly get smaller."""
SHARED = 4
"""Elements of all tensors for each byte of their storages, and of the file, at most: some tensors share a storage."""


def read(path: Path) -> tuple[dict[str, Any], Weights]:
    """Options ('args') and float32 weights ('model') of a checkpoint file.

    Raises OSError if there is none, and Unreadable for what is damaged, beyond the limits or holds anything else.
    """
    with reading.opened(path) as file:
        try:
            packed = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            return _read_zip(file) if packed else _read_legacy(file)
        except Unreadable:
            raise
        except MemoryError:
            raise Unreadable("too large for the memory") from None
        except Exception as error:  # zlib.error, BadZipFile, OSError, ...: each damage of a zip has an error of its own
            raise Unreadable(f"damaged ({' '.join(str(error).split())[:200] or type(error).__name__})") from None


def _parts(content: Any, fetch: Fetch, size: int) -> tuple[dict[str, Any], Weights]:
    if type(content) is not dict or not {"args", "model"} <= content.keys():
        raise Unreadable("holds no 'args' and 'model'")
    return pickles.plain_options(content["args"]), _weights(content["model"], fetch, size)


def _weights(model: Any, fetch: Fetch, size: int) -> Weights:
    """The tensors as float32. size: bytes of the file, which what is in memory must not exceed too far."""
    views = model if type(model) is dict else {}
    if not views or not all(type(name) is str and isinstance(view, View) for name, view in views.items()):
        raise Unreadable("its 'model' is not a mapping of tensors")
    storages = {view.storage for view in views.values()}
    held = sum(storage.count * storage.dtype.itemsize for storage in storages)
    if sum(view.elements for view in views.values()) > min(SHARED * held, max(SHARED * size, ALWAYS_UNPACKED)):
        raise Unreadable("tensors of far more elements than the file holds numbers")
    numbers = {storage: _numbers(storage, fetch(storage)) for storage in storages}
    return {name: numbers[v.storage].as_strided(v.size, v.stride, v.offset).float() for name, v in views.items()}


def _numbers(storage: Storage, content: bytes) -> Tensor:
    if not content:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(content), dtype=storage.dtype)


# The zip form


def _read_zip(file: IO[bytes]) -> tuple[dict[str, Any], Weights]:
    with zipfile.ZipFile(file) as archive:
        size = file.seek(0, 2)
        entries = _entries(archive, size)
        roots = [found[1] for name in entries if (found := re.fullmatch(r"([^/]+)/data\.pkl", name))]
        if len(roots) != 1:
            raise Unreadable("a zip without data.pkl, or with several: not what torch.save writes")
        order = archive.read(f"{roots[0]}/byteorder") if f"{roots[0]}/byteorder" in entries else b"little"
        if order not in (b"little", b"big"):
            raise Unreadable("its byte order is neither little nor big")

        def fetch(storage: Storage) -> bytes:
            entry = entries.get(f"{roots[0]}/data/{storage.key}")
            if entry is None or entry.file_size != storage.count * storage.dtype.itemsize:
                raise Unreadable(f"its numbers {storage.key!a} are missing, or more or fewer than announced")
            content = archive.read(entry)
            return content if order == b"little" else _swapped(content, storage.dtype.itemsize)

        if entries[f"{roots[0]}/data.pkl"].file_size > LARGEST_PICKLE:
            raise Unreadable(f"a pickle of more than {LARGEST_PICKLE:,} bytes")
        with archive.open(f"{roots[0]}/data.pkl") as pickled:
            content = pickles.load(pickled, LARGEST_PICKLE)
        return _parts(content, fetch, size)


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries of a zip of `size` bytes by name.

    Raises Unreadable if two have one name or lie in the same bytes, if they unpack to far more than they are, and if
    they hold code.
    """
    found = archive.infolist()
    entries = {entry.filename: entry for entry in found}
    if any(name.split("/")[-1] == "constants.pkl" for name in entries):
        raise Unreadable("refused: a TorchScript archive, which holds code; save the model's state_dict by torch.save")
    if len(found) > MOST_ENTRIES or len(entries) < len(found):
        raise Unreadable(f"a zip of more than {MOST_ENTRIES:,} entries, or with two of one name")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in found):
        raise Unreadable("a zip packed in a way that torch does not know")
    if (unpacked := sum(entry.file_size for entry in found)) > max(UNPACKED * size, ALWAYS_UNPACKED):
        raise Unreadable(f"unpacks to {unpacked:,} bytes, more than {UNPACKED} times its size")
    end = 0
    for entry in sorted(found, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise Unreadable("a zip whose entries share bytes")
        end = entry.header_offset + LOCAL_HEADER + entry.compress_size
    return entries


def _swapped(content: bytes, width: int) -> bytes:
    return np.frombuffer(content, f"u{width}").byteswap().tobytes()


# The legacy form


def _read_legacy(file: IO[bytes]) -> tuple[dict[str, Any], Weights]:
    """Magic number, protocol, facts of the machine, the pickle, the keys of the storages, and then their numbers."""
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(1) != b"\x80":  # the operation PROTO, by which pickles since protocol 2 begin
        raise Unreadable("neither a zip nor the legacy form that torch.save writes")
    file.seek(0)
    if pickles.load(file, 100) != MAGIC or pickles.load(file, 100) != PROTOCOL:
        raise Unreadable("neither a zip nor the legacy form that torch.save writes")
    if type(pickles.load(file, 10_000)) is not dict:
        raise Unreadable("the legacy form, but without facts of the machine")
    storages = dict[str, Storage]()
    content = pickles.load(file, LARGEST_PICKLE, storages)
    keys = pickles.load(file, LARGEST_PICKLE)
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) < len(keys):
        raise Unreadable("the legacy form, but without the keys of its storages")
    places = {storages[key]: place for key, place in _places(file, [storages.get(key) for key in keys], size)}

    def fetch(storage: Storage) -> bytes:
        file.seek(places[storage])
        return file.read(storage.count * storage.dtype.itemsize)

    return _parts(content, fetch, size)


def _places(file: IO[bytes], storages: list[Storage | None], size: int) -> Iterator[tuple[str, int]]:
    """Where the numbers of each storage begin: behind their count, one storage after the other."""
    for storage in storages:
        count = int.from_bytes(file.read(8), "little")
        if storage is None or storage.count != count:
            raise Unreadable("numbers of a storage that its pickle does not know, or more or fewer than announced")
        place = file.tell()
        if file.seek(place + count * storage.dtype.itemsize) > size:
            raise Unreadable("cut: it ends before its numbers do")
        yield storage.key, place
