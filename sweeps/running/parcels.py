"""The results of a run as a parcel in the storage, for hosts that share no file system.

A parcel is a zip of the small files of a run folder in base64, cut into pieces that any database's text column takes.
It lies in an Optuna study of its own, `<queue>.parcels`, so that a look at the trials does not read the parcels too:
one trial a parcel, whose attributes are the pieces; deleting that study frees the space.
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
from core.run_folder import LOG, METRICS, PROBES, RUN, SAMPLES, SCORES, full_disk
from sweeps import packing
from sweeps.running.optuna_private import TrialStore, id_of, trial_at

FILES = (METRICS, SCORES, SAMPLES, PROBES, LOG, RUN)
"""What is sent (not the weights), in the order in which it is put in place: run.json makes the run a finished one."""
PIECE = 32 * 1024
SUFFIX = ".parcels"
AWAY = "delete the sweep's two studies in the storage, and what is not in the run folders is run again"
LARGEST = 1 << 30
"""Most bytes that a parcel may unfold to."""
LOG_BYTES = 64 * 1024
"""How much of the end of log.txt is sent."""


def pack(folder: Path) -> bytes:
    """The parcel of a finished run; the same whenever it is packed."""
    files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    return packing.pack(files | {LOG: files[LOG][-LOG_BYTES:]} if LOG in files else files)


def unpack(parcel: bytes, folder: Path, **facts: Any) -> None:
    """Put a parcel's files into a run folder that the caller has the right to; never over a finished run.

    All are written beside their places first; run.json, with `facts` added, comes last and finishes the run.
    Raises UserError on a full disk and on a parcel of other things.
    """
    if records.read(folder)["state"] == "finished":
        return
    try:
        files = packing.unpack(parcel, FILES, LARGEST)
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
        records.update(draft, **facts)
        for name in FILES:
            if name in files:
                os.replace(draft / name, folder / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def store_of(storage: BaseStorage, queue: str) -> TrialStore:
    """The study that holds the results of a queue's runs; made when it is first needed."""
    name = queue + SUFFIX
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    return TrialStore.of(study)


def send(storage: BaseStorage, queue: str, key: str, parcel: bytes) -> dict[str, Any]:
    """Store a parcel; returns what `fetch` needs to know."""
    text = base64.b64encode(parcel).decode()
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    store = store_of(storage, queue)
    trial = store.add(optuna.create_trial(state=TrialState.RUNNING, user_attrs={"run": key}))
    store.note(trial, {f"piece {number}": piece for number, piece in enumerate(pieces)})
    store.end(trial, TrialState.COMPLETE, [float(len(parcel))])
    return {"trial": id_of(trial), "pieces": len(pieces), "sha256": hashlib.sha256(parcel).hexdigest()}


def fetch(storage: BaseStorage, facts: dict[str, Any]) -> bytes:
    """The parcel again. Raises UserError if it is not what was sent."""
    try:
        attributes = trial_at(storage, facts["trial"]).user_attrs
        parcel = base64.b64decode("".join(attributes[f"piece {number}"] for number in range(facts["pieces"])))
    except (KeyError, ValueError) as error:
        raise UserError(f"results in the storage: a part is missing ({error}); {AWAY}") from error
    if hashlib.sha256(parcel).hexdigest() != facts["sha256"]:
        raise UserError(f"results in the storage: not what was sent (checksum); {AWAY}")
    return parcel
