"""What a training has saved in its folder, and whether it is what was written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import checkpoints
from core.checkpoints import Damaged, Tensors
from core.errors import UserError
from core.run_folder import BEST, STATE, WEIGHTS

Say = Callable[[str], None]
"""Tells the user a sentence."""


def warn(sentence: str) -> None:
    """Say it on standard error."""
    print(sentence, file=sys.stderr)


def best_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step stands if it is among the best."""
    return folder / BEST.format(step=step)


def saved_step(folder: Path, say: Say = warn) -> int | None:
    """The step of the checkpoint that training in a folder goes on from; None if there is none (`last_state`)."""
    found = last_state(folder, say)
    return found[1]["step"] if found else None


def last_state(folder: Path, say: Say = warn) -> tuple[Tensors, dict[str, Any]] | None:
    """Tensors and facts of the checkpoint that training in a folder goes on from; None if there is none.

    If it, or one of the best that it counts on, is not as it was written, all are deleted, and that is said: weights
    without the optimizer's state are no place to go on from, and training anew ends with the same ones.
    """
    if not (folder / STATE).exists():
        return None
    try:
        return check_saved(folder)
    except UserError as error:
        for path in (folder / STATE, folder / WEIGHTS, *folder.glob("best-*.safetensors")):
            path.unlink(missing_ok=True)
        say(f"{error}; this training begins anew")
        return None


def check_saved(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and facts of a folder's state. Raises UserError unless it and its best checkpoints are as written."""
    tensors, facts = checkpoints.load(folder / STATE)
    if not {"step", "tokens", "seconds", "best"} <= facts.keys():
        raise Damaged(f"{folder / STATE}: damaged (it does not say its step)")
    for _, step in facts["best"]:
        checkpoints.load(best_path(folder, step))
    return tensors, facts
