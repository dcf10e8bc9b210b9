"""Files of tensors (safetensors) written atomically, with their facts and a checksum in the metadata; no pickles."""

import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core import reading
from core.errors import UserError
from core.reading import Unreadable
from core.run_folder import replacing

Tensors = dict[str, Tensor]
CHECKED = "checked_facts"
"""The one key of the metadata: the checksum, a blank, the facts. The library writes several in a random order, and the
same weights would be other bytes."""
FACTS, CHECKSUM = "facts", "checksum"
"""The keys of earlier versions, the first of which had no checksum."""


class Damaged(UserError):
    """A checkpoint that is gone, or not what was written."""


def save(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
    """Write tensors and JSON facts; a reader sees the old file or the new one, never half of one."""
    try:
        with replacing(path) as draft:
            separate, said = _separate(tensors), json.dumps(facts)
            save_file(separate, draft, {CHECKED: f"{checksum(separate, said)} {said}"})
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}; free some space or choose another folder") from error


def _separate(tensors: Tensors) -> Tensors:
    """Contiguous tensors on the CPU, those that share memory copied (the format allows no sharing)."""
    seen: set[int] = set()
    separate: Tensors = {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        separate[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return separate


def checksum(tensors: Tensors, facts: str) -> str:
    """Eight hexadecimal digits over names, kinds, shapes and bytes of contiguous tensors on the CPU, and the facts."""
    found = zlib.crc32(facts.encode())
    for name, value in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), found)
        content: Any = value.reshape(-1).view(torch.uint8).numpy()
        found = zlib.crc32(content, found)
    return f"{found:08x}"


def load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors (on the CPU) and facts of a file. Raises Damaged if it is missing or not as written.

    The library opens a file twice: one that is replaced in between is read again.
    """
    while True:
        before = _standing(path)
        try:
            return _load(path)
        except Damaged:
            if _standing(path) == before:
                raise


def _standing(path: Path) -> tuple[int, int] | None:
    """Which file is at a path, and since when; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        reading.opened(path).close()  # no pipe, for whose writer the library would wait
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            said = _told(file.metadata() or {})
        facts = reading.parse_json(said.get(FACTS, "{}"))
    except FileNotFoundError as error:
        raise Damaged(f"{path}: no such checkpoint") from error
    except (SafetensorError, OSError, Unreadable) as error:
        raise Damaged(f"{path}: not a readable checkpoint ({error})") from error
    odd = said and (FACTS not in said or said.keys() - {FACTS, CHECKSUM})
    if odd or (CHECKSUM in said and said[CHECKSUM] != checksum(tensors, said[FACTS])):
        raise Damaged(f"{path}: damaged (it is not what was written: its checksum differs)")
    return tensors, facts


def _told(metadata: dict[str, str]) -> dict[str, str]:
    """Facts and checksum by the keys of earlier versions."""
    if metadata.keys() != {CHECKED}:
        return metadata
    found, _, facts = metadata[CHECKED].partition(" ")
    return {FACTS: facts, CHECKSUM: found}


def average(paths: list[Path]) -> Tensors:
    """Mean of the tensors of several checkpoints, summed in float64; of those that have it, for one that some lack."""
    total: Tensors = {}
    count = Counter[str]()
    for path in paths:
        for name, value in load(path)[0].items():
            total[name] = total[name] + value.double() if name in total else value.double()
            count[name] += 1
    return {name: (value / count[name]).float() for name, value in total.items()}


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    """The same tensors under 'prefix/name'."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def unprefixed(prefix: str, tensors: Tensors) -> Tensors:
    """Those under 'prefix/', by their own names."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in tensors.items() if name.startswith(f"{prefix}/")}


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> Tensors:
    """The optimizer's state as flat tensors 'parameter/key'."""
    state = optimizer.state_dict()["state"]
    return {f"{names[i]}/{key}": value for i, values in state.items() for key, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: Tensors) -> None:
    """Put such tensors back."""
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        name, key = path.rsplit("/", 1)
        state.setdefault(names.index(name), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
