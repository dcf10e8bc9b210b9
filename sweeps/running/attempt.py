"""One attempt at a run: execute it in this process; how it ends is on disk before anybody is told."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ablations import records
from core.config import RunConfig, recorded
from core.errors import UserError, masked
from sweeps.running.plan import Job
from sweeps.wb import tracking

Execute = Callable[[RunConfig, Path, records.Tracker], Any]
"""Runs one arm into its claimed folder, and finishes it."""


def train_and_score(config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Train, decode, score and probe one arm."""
    from ablations import execute, place  # on demand: brings in torch, which says nothing about wrong options

    execute.execute(config, folder, tracker, place.Place())


def attempt(job: Job, folder: Path, execute: Execute) -> None:
    """Run the arm; its end, whatever it is, is in run.json and in the tracker before it is raised."""
    tracker: records.Tracker = records.NullTracker()
    try:
        tracker = tracking.tracker(folder)
        execute(recorded(job.config), folder, tracker)
    except Exception as error:
        print(masked(traceback.format_exc()), end="", file=sys.stderr)
        records.fail(folder, reason_of(error), refused=isinstance(error, UserError))
        raise
    except BaseException:
        records.suspend(folder)
        raise
    finally:
        tracker.finish(records.read(folder)["state"])


def reason_of(error: BaseException) -> str:
    """One line for people: a user's mistake speaks for itself, anything else with its kind."""
    return masked(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send standard output and error, also those of libraries and child processes, to the end of a file."""
    saved = os.dup(1), os.dup(2)
    with open(path, "ab", buffering=0) as file:
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()}\n".encode())
        try:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, before in zip((1, 2), saved, strict=True):
                os.dup2(before, stream)
                os.close(before)
