"""Runs that share a training, since they differ in decoding alone: one is trained, the others take its weights over."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations import provenance, records
from core import checkpoints
from core.errors import UserError
from core.run_folder import METRICS, STATE, WEIGHTS, replacing
from core.training.saved import Say, check_saved, warn

MADE_BY = ("commit", "versions", "device", "processor", "threads", "precision", "ranks")
"""What the bits of a training depend on besides its options, its seed and the text."""


def find(folder: Path, training_hash: str, elsewhere: bool = False, say: Say = warn) -> Path | None:
    """Another run of the study with this training, done; elsewhere: or of a study beside it, if it comes out alike.

    Within a study one training stands for all that share it. Another study may be older than the code, or from another
    machine. One whose files are not as they were written, or gone, is left out, and that is said.
    """
    mine = records.read(folder)
    own = sorted(folder.parent.glob("*"))
    others = sorted(set(folder.parents[1].glob("*/*")) - set(own)) if elsewhere else []
    for twin in [*own, *others]:
        if twin == folder or not (twin / STATE).exists():
            continue
        with contextlib.suppress(UserError):  # a broken record: whoever runs that one says so
            found = records.read(twin)
            same = found.get("training_hash") == training_hash and (twin in own or alike(mine, found))
            if same and _whole(twin, found, say):
                return twin
    return None


def finished(folder: Path) -> list[Path]:
    """The finished runs of the study that have the training of this one and come out alike: what does not depend on how
    they decode need not be computed again."""
    mine, found = records.read(folder), []
    for twin in sorted(folder.parent.glob("*")):
        with contextlib.suppress(UserError):  # no run, or a broken record: whoever runs that one says so
            other = records.read(twin)
            same = other["state"] == "finished" and other.get("training_hash") == mine.get("training_hash")
            found += [twin] if same and alike(mine, other) else []
    return found


def _whole(twin: Path, record: Mapping[str, Any], say: Say) -> bool:
    """Whether the training of a run is through, and all that it left is as it was written; said if it should be."""
    if not (twin / WEIGHTS).exists() and record.get("state") != "finished":
        return False
    try:
        checkpoints.load(twin / WEIGHTS)
        check_saved(twin)
    except UserError as error:
        say(f"{error}; the training of {twin.name} is not taken over")
        return False
    return True


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs were made by one committed code on one kind of machine: equal seeds then give equal bits."""
    committed = one.get("commit") and not one["commit"].endswith(provenance.DIRTY)
    return bool(committed) and all(one.get(name) == other.get(name) for name in MADE_BY)


def take_over(folder: Path, training_hash: str, elsewhere: bool = False, say: Say = warn) -> None:
    """Copy what the training of another run left, if there is one, and note whose it is.

    The state is last, since its being there says that all is. To be called under the lock of this training.
    """
    twin = find(folder, training_hash, elsewhere, say)
    if twin is None:
        return
    for name in [*(path.name for path in twin.glob("best-*.safetensors")), METRICS, STATE]:
        with replacing(folder / name) as draft:
            shutil.copyfile(twin / name, draft)
    study = "" if twin.parent == folder.parent else f"{twin.parent.name}/"
    records.update(folder, trained_by=study + twin.name)


def within_study(folder: Path) -> bool:
    """Whether a run has taken its training over from another one of its study."""
    return "/" not in (records.read(folder).get("trained_by") or "/")
