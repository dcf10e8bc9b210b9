"""Files of tensors (safetensors) written atomically, with their facts in the metadata; no pickles anywhere."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.errors import UserError
from core.run_folder import replacing

Tensors = dict[str, Tensor]


def save(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
    """Write tensors and JSON facts; a reader sees the old file or the new one, never half of one."""
    try:
        with replacing(path) as draft:
            save_file(_separate(tensors), draft, {"facts": json.dumps(facts)})
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}; free some space or choose another folder") from error


def _separate(tensors: Tensors) -> Tensors:
    """Contiguous tensors, those that share memory copied (the format allows no sharing)."""
    seen: set[int] = set()
    separate: Tensors = {}
    for name, value in tensors.items():
        value = value.detach().contiguous()
        separate[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return separate


def load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors (on the CPU) and facts of a file. Raises UserError if it is missing or not such a file."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable checkpoint ({error}); delete it to start this run afresh") from error
    return tensors, facts


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
