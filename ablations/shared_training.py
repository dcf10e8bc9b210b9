"""Runs that share a training, since they differ in decoding alone: one is trained, the others take its weights over."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations import provenance, records
from core.errors import UserError
from core.run_folder import METRICS, STATE, WEIGHTS, replacing

MADE_BY = ("commit", "versions", "device", "processor", "threads", "precision", "ranks")
"""What the bits of a training depend on besides its options, its seed and the text."""


def find(folder: Path, training_hash: str, elsewhere: bool = False) -> Path | None:
    """Another run of the study with this training, done; elsewhere: or of a study beside it, if it comes out alike.

    Within a study one training stands for all that share it. Another study may be older than the code, or from another
    machine.
    """
    mine = records.read(folder)
    own = sorted(folder.parent.glob("*"))
    others = sorted(set(folder.parents[1].glob("*/*")) - set(own)) if elsewhere else []
    for twin in [*own, *others]:
        if twin == folder or not all((twin / name).exists() for name in (WEIGHTS, STATE)):
            continue
        with contextlib.suppress(UserError):  # a broken record: whoever runs that one says so
            found = records.read(twin)
            if found.get("training_hash") == training_hash and (twin in own or alike(mine, found)):
                return twin
    return None


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs were made by one committed code on one kind of machine: equal seeds then give equal bits."""
    committed = one.get("commit") and not one["commit"].endswith(provenance.DIRTY)
    return bool(committed) and all(one.get(name) == other.get(name) for name in MADE_BY)


def take_over(folder: Path, training_hash: str, elsewhere: bool = False) -> None:
    """Copy what the training of another run left, if there is one, and note whose it is.

    The state is last, since its being there says that all is. To be called under the lock of this training.
    """
    twin = find(folder, training_hash, elsewhere)
    if twin is None:
        return
    for name in [*(path.name for path in twin.glob("best-*.safetensors")), METRICS, STATE]:
        with replacing(folder / name) as draft:
            shutil.copyfile(twin / name, draft)
    study = "" if twin.parent == folder.parent else f"{twin.parent.name}/"
    records.update(folder, trained_by=study + twin.name)
