"""Optuna's storage: a journal file by default, any storage URL otherwise."""

import fcntl
import itertools
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage

from core import reading, run_folder
from core.errors import UserError, masked, masked_word, without_password
from sweeps.extras import need
from sweeps.running import optuna_private

T = TypeVar("T")
ENVIRONMENT = "SWEEP_STORAGE"
"""The variable that names the storage, as --storage does: an environment, unlike a command line, is not for all to see
in the list of processes, and a URL may hold a password."""
ATTEMPTS = 3
"""Tries to open a storage: processes that create the tables of a new database at once get in each other's way."""
CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
"""How long a storage that took a call may be silent; without a limit, who asked would wait for ever."""
SILENCE: dict[str, dict[str, int]] = {
    "postgresql+psycopg": {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3},
    "mysql+pymysql": {"read_timeout": ANSWER_SECONDS, "write_timeout": ANSWER_SECONDS},
}
"""The same for databases, in the words of their drivers; PostgreSQL's sees that the other host is gone, no more."""
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
"""The drivers that are installed with the suite, for URLs that name none."""
PACKAGES = {
    "postgresql+psycopg": ("psycopg", "psycopg[binary]"),
    "mysql+pymysql": ("pymysql", "pymysql"),
    "grpc": ("grpc", "grpcio"),
    "redis": ("redis", "redis"),
}
"""Module and package that a kind of storage needs."""
CLIENTS = frozenset({"sqlalchemy", "grpc", "psycopg", "pymysql", "redis"})


OP = b'{"op_code":'
"""How the journal of Optuna's file backend begins, and each line of it."""


class Damaged(UserError):
    """A line of the journal at `path` is none, so Optuna cannot read on."""

    def __init__(self, path: Path, line: int) -> None:
        self.path, self.fault = path, f"{path}:{line}: not a line of Optuna's journal"
        safe = "the runs are safe in their folders; start the sweep or search again, which makes it anew from them"
        super().__init__(f"{self.fault}; {safe}")


def _check_journal(path: Path) -> None:
    """Raises Damaged for a journal with a line that is none, and UserError for somebody's file of another kind: it
    would be written to, and its last line mended away."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = file.read().split(b"\n")  # what follows the last line end was cut off in mid-write, and is mended
    cut = lines.pop()
    ours = path.name == run_folder.JOURNAL or any(line.startswith(OP) for line in lines)
    if not ours and (lines or not OP.startswith(cut[: len(OP)])):
        raise UserError("the file is there, and no journal of Optuna's; a database is named sqlite:///FILE")
    for number, line in enumerate(lines, start=1):
        if not _is_entry(line):
            raise Damaged(path, number)


def _is_entry(line: bytes) -> bool:
    try:
        entry = reading.parse_json(line)
    except reading.Unreadable:
        return False
    return isinstance(entry, dict) and isinstance(entry.get("op_code"), int)


def _check_path(where: str) -> None:
    """Raises UserError for a URL with a slash too few: taken for a path, it would become a file of that name."""
    if "://" not in where and re.match(r"[a-z][a-z0-9+]+:/", where):
        raise UserError(f"--storage {masked_word(where)}: a URL has two slashes, as in postgresql://user@host/database")


class FlockLock:
    """The journal's lock, freed by the system when its holder is killed, and a last line cut off in mid-write mended.

    Optuna's own locks are files that a killed process leaves behind: everybody then waits 30 seconds for nothing;
    and a torn line makes the journal unreadable as soon as another is written behind it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.handle = path, -1

    def acquire(self) -> bool:
        handle = os.open(f"{self.path}.flock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self.handle = handle
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


def resolve(option: str | None) -> str | None:
    """The storage that --storage or, without it, the environment names; None if neither does."""
    return option or os.environ.get(ENVIRONMENT) or None


def local(where: str) -> bool:
    """Whether a storage is a file, which only processes that see the same file system can open."""
    return "://" not in where or where.startswith("sqlite")


def present(where: str) -> None:
    """Raises UserError for a storage that is a file and not there: opened, it would be made, empty."""
    _check_path(where)
    path = where.partition("///")[2] if where.startswith("sqlite") else where
    if local(where) and path and not Path(path).exists():
        raise UserError(
            f"--storage {masked_word(where)}: no such file; give the storage of the sweep: its file or its URL"
        )


def with_driver(url: str) -> str:
    """The URL with the driver that the suite brings, if it names none: postgresql:// -> postgresql+psycopg://."""
    scheme, sign, rest = url.partition("://")
    return f"{DRIVERS.get(scheme, scheme)}{sign}{rest}"


def _open(where: str) -> BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _check_path(where)
    if "://" not in where:
        path = Path(where)
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_journal(path)
        return _replayed(path, FlockLock(path))
    if local(where):
        return optuna_private.open_database(where)
    url = with_driver(where)
    kind = url.partition("://")[0]
    if kind in PACKAGES:
        need(*PACKAGES[kind], f"a storage {kind}://")
    if kind == "redis":
        return optuna_private.open_redis(url)
    if kind == "grpc":
        host, _, port = url.removeprefix("grpc://").rstrip("/").partition(":")
        return optuna_private.open_grpc(host, int(port or 13000), CONNECT_SECONDS, ANSWER_SECONDS)
    connect: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS} | SILENCE.get(kind, {})
    return optuna_private.open_database(url, pool_pre_ping=True, connect_args=connect)


def _replayed(path: Path, lock: FlockLock) -> BaseStorage:
    """The journal, read to its end. Raises Damaged where its lines do not fit together."""
    try:
        return optuna_private.open_journal(str(path), lock)
    except OSError:
        raise
    except Exception as error:
        raise Damaged(path, optuna_private.first_misfit(path.read_bytes().split(b"\n"))) from error


def renewed(where: str, at_work: Callable[[], bool]) -> BaseStorage:
    """The opened storage; a damaged journal is set aside first, and said. at_work: whether others use it now.

    Raises UserError if it cannot be opened, or is damaged while others are at work on it.
    """
    try:
        return open_storage(where)
    except Damaged as error:
        if at_work():
            raise UserError(f"{error}, once those that are at work on it now have ended") from error
        aside = next(
            p for n in itertools.count(1) if not (p := error.path.with_name(f"{error.path.name}.damaged-{n}")).exists()
        )
        error.path.rename(aside)
        print(
            f"{error.fault}; set aside as {aside.name}: it is made anew from the run folders, which are safe",
            file=sys.stderr,
            flush=True,
        )
        return open_storage(where)


def open_storage(where: str) -> BaseStorage:
    """A path (journal file), redis://, grpc://HOST:PORT (Optuna's proxy), or the URL of a database.

    Raises UserError if it cannot be opened.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _open(where)
        except Damaged:
            raise
        except Exception as error:  # each kind of storage raises its own
            if attempt == ATTEMPTS or isinstance(error, ImportError | UserError):
                why = without_password(reason(error), where)
                said = f"cannot be opened ({why}); give a path or a URL that Optuna knows"
                raise UserError(f"--storage {masked_word(where)}: {said}") from error
            time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")


def lost(error: BaseException) -> bool:
    """Whether an exception says that the storage does not answer, whichever kind of storage it is."""
    packages = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, StorageInternalError | ConnectionError) or not CLIENTS.isdisjoint(packages)


def reason(error: BaseException) -> str:
    """What a storage's exception says, in one line: gRPC's and SQLAlchemy's have many."""
    details = error.details() if hasattr(error, "details") else None
    lines = masked(str(details or error)).strip().split("\n")
    return lines[0] if lines else type(error).__name__


def patiently(action: Callable[[], T], seconds: float, pause: float = 2.0) -> T:
    """The action's result, tried again for some time while the storage does not answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except Exception as error:
            if not lost(error) or time.monotonic() > deadline:
                raise
            time.sleep(pause)
