"""The run folder `runs/<study>/<arm>-s<seed>-<hash8>/`: one arm with one seed, and the truth about it.

    run.json       identity, configuration, state, provenance; replaced as a whole, never edited in place
    metrics.jsonl  one row a logged step (MetricsLog)
    lock           held by the process that runs the arm

States: pending -> running -> finished | failed. The right to run an arm is an flock on `lock`: the system drops it
when the process dies, however it dies, so nobody has to guess whether a run is still alive. The lease in run.json
says the same to other hosts, whose file system may not share locks, and to people. What W&B, Optuna and the
figures know can be rebuilt from these folders.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from core.config import PATHS, digest
from core.errors import UserError

FORMAT = 1
LEASE_SECONDS = 90.0
PACKAGES = ("torch", "numpy", "tokenizers", "sacrebleu", "rouge-score", "safetensors", "optuna", "wandb")

_held: dict[Path, tuple[int, threading.Event]] = {}
_writing = threading.RLock()


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


def plain(value: Any) -> Any:
    """The value as JSON knows it: NaN and infinities become null, numpy and torch scalars numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file as a whole: readers see the old or the new one, also after a crash."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with full_disk(path), open(draft, "w", encoding="utf-8") as file:
        json.dump(plain(content), file, indent=1, ensure_ascii=False, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turn 'no space left' while writing `path` into a UserError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{path}: the disk is full; make room and start the same command again to go on") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError if it is not there or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete {path.parent.name} to run it again") from error


# Identity and provenance


def identity(config_flat: Mapping[str, Any], corpus_digest: str) -> str:
    """Eight hexadecimal digits over all that decides a run: its options (paths left out) and its corpus."""
    return digest({**{k: v for k, v in config_flat.items() if k not in PATHS}, "corpus_digest": corpus_digest})


def folder_for(root: Path, study: str, arm: str, seed: int, hash8: str) -> Path:
    """`<root>/<study>/<arm>-s<seed>-<hash8>`."""
    return root / study / f"{arm}-s{seed}-{hash8}"


def _installed(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git(*arguments: str) -> str | None:
    """What git says about the folder of this file; None when it says no, or is not there."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
        return result.stdout.strip() if result.returncode == 0 else None
    return None


@lru_cache
def commit() -> str | None:
    """The checkout's commit, with '+dirty' when tracked files differ from it; None outside a checkout of ours."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:  # installed inside some other repository
        return None
    head, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return head + "+dirty" * bool(changes) if head else None


def provenance() -> dict[str, Any]:
    """Where a result comes from: versions, commit, device, threads, command line. Never fails."""
    import torch  # on demand: reading records needs no torch

    found = {package: _installed(package) for package in PACKAGES}
    versions = {"python": platform.python_version()} | {k: v for k, v in found.items() if v}
    device = f"cuda {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "cpu"
    command = " ".join(sys.orig_argv)
    return {
        "versions": versions,
        "commit": commit(),
        "device": device,
        "threads": torch.get_num_threads(),
        "command": command,
    }


# run.json


def create(
    folder: Path, *, study: str, arm: str, label: str, seed: int, hash8: str, config: Mapping[str, Any], **fields: Any
) -> dict[str, Any]:
    """Make a pending run, or leave the one that is there as it is; returns its record."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"format": FORMAT, "study": study, "arm": arm, "label": label, "seed": seed, "hash": hash8}
    record |= {"config": dict(config), "toggles": {}, "state": "pending", "reason": None, "refused": False}
    record |= {"outcome": "ok", "attempts": 0, "lease": None, "started": None, "finished": None}
    draft = folder / f".new.{os.getpid()}.json"
    write_json(draft, record | {"tuning": {"trials": 0}} | fields)
    with contextlib.suppress(FileExistsError):  # a link, unlike a replacement, never overwrites another's record
        os.link(draft, folder / "run.json")
    draft.unlink()
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    """The record of a run.

    Raises UserError if there is none, or it is not one of ours, or of a newer format.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
    except FileNotFoundError:
        raise UserError(f"{folder}: not a run folder (no run.json)") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a run record ({error}); delete {folder.name} to run it again") from error
    if version > FORMAT:
        raise UserError(f"{path}: written by a newer version of this suite (format {version}); update to read it")
    return record


def update(folder: Path, **fields: Any) -> dict[str, Any]:
    """Set some fields of run.json in one atomic replacement; returns the new record."""
    with _writing:
        record = read(folder) | fields
        write_json(folder / "run.json", record)
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


def _lock(path: Path, pauses: tuple[float, ...] = ()) -> int | None:
    """A file descriptor that holds the lock, or None if another process does, also after some more tries."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for pause in (0.0, *pauses):
        time.sleep(pause)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    handle = _lock(folder / "lock", pauses=(0.02, 0.05, 0.1))  # a mere look (`busy`) holds it for an instant
    if handle is None:
        return False
    record = read(folder)
    if record["state"] == "finished" or _elsewhere(record):
        os.close(handle)
        return False
    attempts = record["attempts"] + 1
    update(folder, state="running", reason=None, attempts=attempts, lease=_lease(lease_seconds), started=now())
    _held[folder] = handle, threading.Event()
    threading.Thread(target=_renew, args=(folder, lease_seconds, _held[folder][1]), daemon=True).start()
    return True


def release(folder: Path) -> None:
    """Let go of a run; what run.json says stays."""
    if (folder := folder.resolve()) in _held:
        handle, over = _held.pop(folder)
        over.set()
        os.close(handle)


def busy(folder: Path) -> bool:
    """Whether some living process (this one included) holds the run."""
    if not (folder / "lock").exists():
        return False
    handle = _lock(folder / "lock")
    if handle is None:
        return True
    os.close(handle)
    return _elsewhere(read(folder))


# metrics.jsonl


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a torn last line (its writer was killed) is left out.

    Raises UserError naming the line if another one is broken.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise UserError(f"{path}:{number}: not a row of JSON ({error}); delete the run to do it again") from error
    return rows


def latest(path: Path, size: int = 16384) -> dict[str, Any]:
    """The newest value of each key among the last rows (about `size` bytes): cheap enough to ask every second."""
    row: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        start = max(file.seek(0, os.SEEK_END) - size, 0)
        file.seek(start)
        for line in file.read().split(b"\n")[1 if start else 0 : -1]:
            with contextlib.suppress(ValueError):
                row |= json.loads(line)
    return row


class MetricsLog:
    """Appends rows to metrics.jsonl, each flushed whole, so that a killed run keeps all but at most its last one.

    `resume_step`: step of the checkpoint a run goes on from; later rows (and a torn line) are dropped, so no step
    is there twice. None: from the beginning. `mirror` (a tracker's `log`) is given the rows kept and each new one.
    """

    def __init__(
        self, path: Path, resume_step: int | None = None, mirror: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self.path, self.mirror = path, mirror
        kept = [] if resume_step is None else read_rows(path)
        kept = [row for row in kept if row.get("train/step", 0) <= (resume_step or 0)]
        if path.is_file():
            self._replace(kept)
        self.file = open(path, "ab")  # noqa: SIM115 (open as long as the run)
        if mirror:
            for row in kept:
                mirror(row)

    def _replace(self, rows: list[dict[str, Any]]) -> None:
        draft = self.path.with_name(f".{self.path.name}.tmp")
        with full_disk(self.path):
            draft.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(draft, self.path)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row. Raises UserError naming the file when the disk is full."""
        line = json.dumps(plain(row), allow_nan=False) + "\n"
        with full_disk(self.path):
            self.file.write(line.encode())
            self.file.flush()
        if self.mirror:
            self.mirror(plain(row))

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self.file.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
