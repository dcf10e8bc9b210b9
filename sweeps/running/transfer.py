"""The results of a run, packed and sent through the storage, for hosts that share no file system.

What is sent is a zip of the small files of a run folder in base64, cut into pieces that any database's text column
takes. It lies in an Optuna study of its own, `<queue>.parcels`, so that a look at the trials does not read it too: one
trial a run, whose attributes are the pieces; deleting that study frees the space.
"""

import base64
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from ablations import records
from core.errors import UserError
from core.run_folder import LOG, METRICS, PROBES, RUN, SAMPLES, SCORES, full_disk, sync
from sweeps import packing
from sweeps.running.optuna_private import TrialStore, id_of, trial_at

FILES = (METRICS, SCORES, SAMPLES, PROBES, LOG, RUN)
"""What is sent (not the weights), in the order in which it is put in place: run.json makes the run a finished one."""
PIECE = 32 * 1024
SUFFIX = ".parcels"
AWAY = "delete the sweep's two studies in the storage, and what is not in the run folders is run again"
LARGEST = 1 << 30
"""Most bytes that a run's results may unfold to."""
LOG_BYTES = 64 * 1024
"""How much of the end of log.txt is sent."""


def pack(folder: Path) -> bytes:
    """The results of a finished run; the same whenever they are packed."""
    files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    return packing.pack(files | {LOG: files[LOG][-LOG_BYTES:]} if LOG in files else files)


def unpack(packed: bytes, folder: Path, **facts: Any) -> None:
    """Put packed results into a run folder that the caller has the right to; never over a finished run.

    All are written beside their places first; run.json, with `facts` added, comes last and finishes the run.
    Raises UserError on a full disk and on a zip of other things.
    """
    if records.read(folder)["state"] == "finished":
        return
    try:
        files = packing.unpack(packed, FILES, LARGEST)
    except UserError as error:
        raise UserError(f"{folder.name}: {error}; {AWAY}") from error
    if not {RUN, SCORES} <= files.keys():
        raise UserError(f"{folder.name}: not the results of a run ({', '.join(files)}); {AWAY}")
    draft = folder / f".parcel.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with full_disk(draft):
            draft.mkdir()
            for name, content in files.items():
                (draft / name).write_bytes(content)
                sync(draft / name)
        records.update(draft, **facts)
        for name in FILES:
            if name in files:
                sync(folder)  # run.json, which says that the others are there, is the last
                os.replace(draft / name, folder / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def store_of(storage: BaseStorage, queue: str) -> TrialStore:
    """The study that holds the results of a queue's runs; made when it is first needed."""
    name = queue + SUFFIX
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    return TrialStore.of(study)


def send(storage: BaseStorage, queue: str, key: str, packed: bytes) -> dict[str, Any]:
    """Store packed results; returns what `fetch` needs to know."""
    text = base64.b64encode(packed).decode()
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    store = store_of(storage, queue)
    trial = store.add(optuna.create_trial(state=TrialState.RUNNING, user_attrs={"run": key}))
    store.note(trial, {f"piece {number}": piece for number, piece in enumerate(pieces)})
    store.end(trial, TrialState.COMPLETE, [float(len(packed))])
    return {"trial": id_of(trial), "pieces": len(pieces), "sha256": hashlib.sha256(packed).hexdigest()}


def fetch(storage: BaseStorage, facts: dict[str, Any]) -> bytes:
    """The packed results again. Raises UserError if it is not what was sent."""
    try:
        attributes = trial_at(storage, facts["trial"]).user_attrs
        packed = base64.b64decode("".join(attributes[f"piece {number}"] for number in range(facts["pieces"])))
    except (KeyError, ValueError) as error:
        raise UserError(f"results in the storage: a part is missing ({error}); {AWAY}") from error
    if hashlib.sha256(packed).hexdigest() != facts["sha256"]:
        raise UserError(f"results in the storage: not what was sent (checksum); {AWAY}")
    return packed
