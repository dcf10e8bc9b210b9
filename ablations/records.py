"""The run folder `runs/<study>/<arm>-s<seed>-<hash8>/`: one arm with one seed, and the truth about it.

    run.json       identity, configuration, state, provenance; replaced as a whole, never edited in place
    metrics.jsonl  one row a logged step (metrics_log.py)
    lock           held by the process that runs the arm

States: pending -> running -> finished | failed. The right to run an arm is an flock on `lock`: the system drops it
when the process dies, however it dies, so nobody has to guess whether a run is still alive. The lease in run.json
says the same to other hosts, whose file system may not share locks, and to people. What W&B, Optuna and the
figures know can be rebuilt from these folders.
"""

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from core import run_folder
from core.config import PATHS, decoding_names, digest
from core.errors import UserError
from core.run_folder import DELETED, FORMAT, LOCK, RUN, SCORES, remove_drafts, sync, write_json

LEASE_SECONDS = 90.0

_held: dict[Path, tuple[int, threading.Event]] = {}
_writing = threading.RLock()
_finished: dict[Path, tuple[tuple[int, int, int], dict[str, Any]]] = {}
"""Records of finished runs, which hardly ever change, and the file (inode, time, size) they are from: a sweep asks for
each a dozen times."""


class Tracker(Protocol):
    """Where a run is shown besides its folder; everything given here is on disk already."""

    def log(self, row: Mapping[str, Any]) -> None:
        """One row of metrics.jsonl."""

    def results(self, folder: Path) -> None:
        """The scores, probes and samples of a run that is through."""

    def finish(self, state: str) -> None:
        """The end: finished, failed or pending (interrupted); calling it again does nothing."""


class NullTracker:
    """Shows a run nowhere."""

    def log(self, row: Mapping[str, Any]) -> None:
        pass

    def results(self, folder: Path) -> None:
        pass

    def finish(self, state: str) -> None:
        pass


def now() -> str:
    """The time in UTC, ISO form."""
    return datetime.now(UTC).isoformat(timespec="seconds")


# Identity


def identity(config_flat: Mapping[str, Any], corpus_digest: str) -> str:
    """Eight hexadecimal digits over all that decides a run: its options (paths left out) and its corpus."""
    return digest({**{k: v for k, v in config_flat.items() if k not in PATHS}, "corpus_digest": corpus_digest})


def training_identity(config_flat: Mapping[str, Any], corpus_digest: str) -> str:
    """Identity of a run's training alone: all its options but those of decoding."""
    decoding = decoding_names(config_flat.get("method"))
    return identity({k: v for k, v in config_flat.items() if k not in decoding}, corpus_digest)


# run.json


def create(
    folder: Path, *, study: str, arm: str, label: str, seed: int, hash8: str, config: Mapping[str, Any], **fields: Any
) -> dict[str, Any]:
    """Make a pending run, or leave the one that is there as it is; returns its record."""
    if (folder / RUN).exists():
        return read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = {"format": FORMAT, "study": study, "arm": arm, "label": label, "seed": seed, "hash": hash8}
    record |= {"config": dict(config), "toggles": {}, "state": "pending", "reason": None, "refused": False}
    record |= {"outcome": "ok", "attempts": 0, "lease": None, "started": None, "finished": None}
    write_json(folder / RUN, record | {"tuning": {"trials": 0}} | fields, once=True)
    sync(folder.parent)
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    """The record of a run, its types checked, what earlier versions did not write filled in.

    Raises UserError if there is none, or it is not one of ours, or of a newer format.
    """
    path = folder / RUN
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: not a run folder (no run.json)") from None
    version = status.st_ino, status.st_mtime_ns, status.st_size
    if path in _finished and _finished[path][0] == version:
        return dict(_finished[path][1])
    record: dict[str, Any] = run_folder.read(path)
    if record["state"] == "finished":
        _finished[path] = version, record
    return dict(record)


def mend(folder: Path) -> str | None:
    """Make a run that cannot be read one that can be made anew; says what was wrong, None if nothing was.

    An unreadable run.json is renamed and kept; a finished run whose scores cannot be read is pending again. A record of
    a newer version is left as it is. To be called before anybody reads the run.
    """
    path = folder / RUN
    with reserved(folder) as free:
        if not free or not path.is_file():
            return None
        record, complaint = run_folder.try_read(path)
        if record is None:
            if complaint and run_folder.NEWER not in complaint:
                os.replace(path, path.with_name(f"{RUN}.damaged"))
                return f"{path} {complaint}; it is kept as {RUN}.damaged, and the run is made anew"
            return None
        scores, complaint = run_folder.try_read(folder / SCORES)
        if record["state"] == "finished" and scores is None:
            said = f"{SCORES} {complaint or 'is missing'}"
            update(folder, state="pending", reason=said)
            return f"{folder}: {said}; the run is made anew"
    return None


def update(folder: Path, **fields: Any) -> dict[str, Any]:
    """Set some fields of run.json in one atomic replacement; returns the new record."""
    with _writing:
        record = read(folder) | fields
        write_json(folder / RUN, record)
    return record


def finish(folder: Path) -> None:
    """The last step of a run whose results all are on disk."""
    update(folder, state="finished", reason=None, refused=False, lease=None, finished=now())


def fail(folder: Path, reason: str, refused: bool = False) -> None:
    """End a run without a result; `refused`: trying again as it is cannot help."""
    line = " ".join(reason.split()) or "unknown"
    update(folder, state="failed", reason=line, refused=refused, lease=None, finished=now())


def suspend(folder: Path, reason: str = "interrupted") -> None:
    """Leave a run that was stopped from outside to whoever goes on with it; the attempt does not count."""
    with _writing:
        attempts = max(read(folder)["attempts"] - 1, 0)
        update(folder, state="pending", reason=reason, attempts=attempts, lease=None)


# The right to run


def _lock(path: Path, kind: int = fcntl.LOCK_EX, pauses: tuple[float, ...] = ()) -> int | None:
    """A file descriptor that holds the lock, or None if another process does, also after some more tries."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for pause in (0.0, *pauses):
        if pause:
            time.sleep(pause)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return handle
    os.close(handle)
    return None


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for a lock file, and hold it; a killed holder frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _elsewhere(record: Mapping[str, Any]) -> bool:
    """Whether another host holds a lease on the run."""
    lease = record["lease"]
    return bool(lease) and lease["host"] != socket.gethostname() and lease["expires"] > time.time()


def _lease(seconds: float) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "expires": round(time.time() + seconds)}


def _renew(folder: Path, seconds: float, over: threading.Event) -> None:
    """Put off the end of a lease until the run is let go."""
    while not over.wait(seconds / 3):
        with contextlib.suppress(OSError, UserError), _writing:
            if read(folder)["state"] == "running" and not over.is_set():
                update(folder, lease=_lease(seconds))


def claim(folder: Path, lease_seconds: float = LEASE_SECONDS) -> bool:
    """Take a run for this process: True if it is ours to run (also when it was already), atomic across processes.

    False if another process runs it or it is finished. A first claim counts as an attempt. The lease is renewed by
    a thread until `release`.
    """
    folder = folder.resolve()
    if folder in _held:
        return True
    handle = _lock(folder / LOCK, pauses=(0.02, 0.05, 0.1))  # a mere look (`busy`) holds it for an instant
    if handle is None:
        return False
    record = read(folder)
    if record["state"] == "finished" or _elsewhere(record):
        os.close(handle)
        return False
    _held[folder] = handle, threading.Event()  # known before it shows: a signal may end this process at any line
    remove_drafts(folder, LEASE_SECONDS)
    attempts = record["attempts"] + 1
    update(folder, state="running", reason=None, attempts=attempts, lease=_lease(lease_seconds), started=now())
    threading.Thread(target=_renew, args=(folder, lease_seconds, _held[folder][1]), daemon=True).start()
    return True


@contextlib.contextmanager
def reserved(folder: Path) -> Iterator[bool]:
    """Hold a run's lock without running it; False if a process of this host has it."""
    handle = _lock(folder / LOCK, pauses=(0.02, 0.05, 0.1))
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def release(folder: Path) -> None:
    """Let go of a run; one that was not begun, or is cut short, is pending again."""
    if (folder := folder.resolve()) not in _held:
        return
    with contextlib.suppress(OSError, UserError):  # a full disk: the lock, freed below, says that nobody runs it
        if read(folder)["state"] == "running":
            suspend(folder)
    handle, over = _held.pop(folder)
    over.set()
    os.close(handle)


def leave_all() -> None:
    """Let go of every run that this process holds, as it ends."""
    for folder in list(_held):
        release(folder)


def busy(folder: Path) -> bool:
    """Whether some living process (this one included) holds the run."""
    if not (folder / LOCK).exists():
        return False
    handle = _lock(folder / LOCK, fcntl.LOCK_SH)  # shared: who looks is not taken for a holder by others who look
    if handle is None:
        return True
    os.close(handle)
    return _elsewhere(read(folder))


def lighten(folder: Path) -> None:
    """Delete the weights of a run whose scores are all that is still needed; its record says so."""
    if found := list(folder.glob("*.safetensors")):
        with contextlib.suppress(UserError):  # a broken record: whoever runs that one says so
            update(folder, weights=DELETED)
    for path in found:
        path.unlink(missing_ok=True)
