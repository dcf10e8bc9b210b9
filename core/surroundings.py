"""What a command needs of the process it starts in: a home folder, an output that takes every character, no window."""

import contextlib
import io
import os
import pwd
import sys
import tempfile
from typing import Any

BACKEND = "agg"
"""Matplotlib's backend that needs nothing but files."""


def prepare() -> None:
    """Give this process and its children a HOME and a backend, and print ? for what the terminal's encoding lacks."""
    choose_backend()
    occupy_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if not os.environ.get("HOME"):  # as under cron and in containers; nltk and wandb give up without one
        os.environ["HOME"] = home()


def occupy_streams() -> None:
    """Give standard streams that are closed to the null device: the next file would get their number, and be written to
    by whoever writes to a standard stream."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def choose_backend() -> None:
    """Let matplotlib write files and nothing else, in this process and its children.

    Jupyter and Colab name a backend of theirs in MPLBACKEND, which matplotlib refuses at its import where that one's
    package is missing. Only commands call this: a notebook that uses our modules keeps its own.
    """
    os.environ["MPLBACKEND"] = BACKEND


class _Lasting(io.RawIOBase):
    """Standard output that may go: what cannot be written any more is dropped, and said once on standard error."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def isatty(self) -> bool:
        return os.isatty(1)

    def write(self, data: Any) -> int:
        """Writes all, or drops it; never raises."""
        rest = memoryview(data).cast("B")
        while rest:
            try:
                rest = rest[os.write(1, rest) :]
            except OSError as error:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)  # for child processes too
                os.close(nowhere)
                with contextlib.suppress(OSError):
                    print(
                        f"standard output: {error.strerror}; the work goes on without it", file=sys.stderr, flush=True
                    )
        return len(data)


def outlive_output() -> None:
    """For work of hours: go on where standard output is closed (`| head -1`, `>&-`) or on a full disk."""
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
        sys.stdout.flush()
        how: dict[str, Any] = {"encoding": sys.stdout.encoding, "errors": "replace", "line_buffering": True}
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Lasting()), **how)


def home() -> str:
    """The user's home folder as the system knows it; for a number without a user, the folder for temporary files."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return tempfile.gettempdir()
