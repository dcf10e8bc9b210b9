"""Optuna's storage: a journal file by default, any storage URL otherwise."""

import fcntl
import os
import time
import warnings
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend

from core.errors import UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=ExperimentalWarning)

ATTEMPTS = 3
"""Tries to open a storage: processes that create the tables of a new database at once get in each other's way."""


class FlockLock:
    """The journal's lock, freed by the system when its holder is killed, and a last line cut off in mid-write mended.

    Optuna's own locks are files that a killed process leaves behind: everybody then waits 30 seconds for nothing;
    and a torn line makes the journal unreadable as soon as another is written behind it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.handle = path, -1

    def acquire(self) -> bool:
        self.handle = os.open(f"{self.path}.flock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        self._mend()
        return True

    def release(self) -> None:
        os.close(self.handle)

    def _mend(self) -> None:
        with open(self.path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


def _open(where: str) -> BaseStorage:
    if "://" not in where:
        path = Path(where)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=FlockLock(path)))  # type: ignore[arg-type]
    if where.startswith("redis"):
        return JournalStorage(JournalRedisBackend(where))
    if where.startswith("grpc://"):
        host, _, port = where.removeprefix("grpc://").rstrip("/").partition(":")
        return GrpcStorageProxy(host=host, port=int(port or 13000))
    return RDBStorage(where)


def open_storage(where: str) -> BaseStorage:
    """A path (journal file), redis://, grpc://HOST:PORT (Optuna's proxy), or the URL of a database.

    Raises UserError if it cannot be opened.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _open(where)
        except Exception as error:  # each kind of storage raises its own
            if attempt == ATTEMPTS or isinstance(error, ImportError):
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                message = f"--storage {where}: cannot be opened ({reason}); give a path or a URL that Optuna knows"
                raise UserError(message) from error
            time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")
