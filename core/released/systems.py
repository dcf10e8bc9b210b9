"""Recordings of other systems than Difformer: each is replayed by the file of its name in core/released/."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from core import released
from core.errors import UserError


def replay(path: Path, options: dict[str, Any], weights: dict[str, Tensor], case: dict[str, np.ndarray]) -> Any:
    """The report of a recording: its file's replay(options, weights, case) -> {"differences": {array: largest
    difference}, "largest": of them all, "tokens_identical": bool}."""
    name = str(options["system"]).lower()
    there = sorted({module.name for module in pkgutil.iter_modules(released.__path__)} - OURS)
    if name not in there:
        raise UserError(f"{path}: a recording of {options['system']!r}, which is none of {', '.join(there)}")
    found = importlib.import_module(f"core.released.{name}").replay(options, weights, case)
    return {"case": path.name, **found}


OURS = {"reading", "replay", "systems", "dictionary", "pickles", "archives", "comparison", "recordings"}
"""Files beside them that are no system."""
