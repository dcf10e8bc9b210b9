"""A PostgreSQL server of its own for tests, on loopback, with a password, from the system's packages."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path

import psycopg
import pytest

PASSWORD = "correct-horse"


def programs() -> Path | None:
    """The folder of initdb and postgres, where they are installed."""
    found = sorted(glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(Path(path).parts[-3]))
    known = found[-1] if found else shutil.which("initdb")
    return Path(known).parent if known else None


def other_user() -> Callable[[], None] | None:
    """What makes a child process another user where this is root, whom PostgreSQL refuses; None elsewhere."""
    if os.geteuid() != 0:
        return None
    users = [user for user in ("postgres", "nobody") if any(entry.pw_name == user for entry in pwd.getpwall())]
    entry = pwd.getpwnam(users[0])

    def become() -> None:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return become


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running server: `database()` makes a new database and returns its URL; it can be stopped and started."""

    def __init__(self, bin: Path, folder: Path) -> None:
        self.bin, self.folder, self.port, self.count = bin, folder, free_port(), 0
        self.user = other_user()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        line = ["initdb", "-D", str(folder / "data"), "-U", "sweeper", "--auth=scram-sha-256", "--no-sync"]
        self._run([*line, f"--pwfile={secret}"], check=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, line: list[str], check: bool) -> None:
        line = [str(self.bin / line[0]), *line[1:]]
        subprocess.run(line, preexec_fn=self.user, cwd=self.folder, check=check, capture_output=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [
            "-c",
            "fsync=off",
            "-c",
            f"unix_socket_directories={self.folder}",
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        line = [str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(line, preexec_fn=self.user, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            with suppress(psycopg.OperationalError), psycopg.connect(self.url("postgres"), connect_timeout=5):
                return
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it at once: connections break off."""
        if self.process is not None:
            self._run(["pg_ctl", "stop", "-m", "immediate", "-D", str(self.folder / "data")], check=False)
            self.process.wait(60)
            self.process = None

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://sweeper:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """A new, empty database."""
        self.count += 1
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE sweep{self.count}")
        return self.url(f"sweep{self.count}")


@contextmanager
def serving() -> Iterator[Server]:
    """A server for as long as the `with` lasts; skips the test where PostgreSQL is not installed."""
    bin = programs()
    if bin is None:
        pytest.skip("PostgreSQL is not installed (initdb): apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres" if any(e.pw_name == "postgres" for e in pwd.getpwall()) else "nobody")
    server = None
    try:
        server = Server(bin, folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
