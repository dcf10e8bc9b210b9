"""The run folder `runs/<study>/<arm>-s<seed>-<hash8>/`: names, format, readers and atomic writing.

The one contract between those who run and those who read: whoever writes or reads such a folder takes names and readers
from here.
"""

import contextlib
import errno
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core import reading
from core.errors import UserError
from core.reading import Unreadable, file_kinds, search_kinds
from core.reading.typed import misfit

RUN = "run.json"
"""Identity, options, state and provenance; replaced as a whole, never edited in place."""
METRICS = "metrics.jsonl"
"""A row a logged step, flushed."""
SCORES = "scores.json"
SAMPLES = "samples.jsonl"
"""Source, reference and hypothesis of each test sentence; of the first few, what decoding went through."""
PROBES = "probes.npz"
WEIGHTS = "model.safetensors"
DELETED = "deleted"
"""What a record's `weights` says once they were deleted on purpose; without a word they were there at the end."""
TOKENIZER = "tokenizer.json"
STATE = "state.safetensors"
"""The checkpoint that a stopped training goes on from."""
BEST = "best-{step:06d}.safetensors"
"""The weights of a step, while they are among the best."""
LOG = "log.txt"
"""What the run's process printed."""
LOCK = "lock"
"""Held by the process that runs the arm."""
STUDY = "study.json"
"""In a study's folder: what the study varies, and which runs belong to it."""
SEARCH = "search.json"
"""In a search's folder: its trials and what they came to."""
JOURNAL = "optuna.journal"
"""In the folder of a study or search: its Optuna storage, unless another one is named."""

FORMAT = 1
"""Version of run.json that this code writes; a newer one is refused."""


def path_of(runs: Path, study: str, arm: str, seed: int, hash8: str) -> Path:
    """`<runs>/<study>/<arm>-s<seed>-<hash8>`."""
    return runs / study / f"{arm}-s{seed}-{hash8}"


# Writing


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turn 'no space left' while writing `path` into a UserError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{path}: the disk is full; make room and start the same command again to go on") from error


def sync(path: Path) -> None:
    """Wait until what was written to a file is on the disk; of a folder: the names of its files."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing of folders
            raise
    finally:
        os.close(handle)


DRAFT = re.compile(r"\.(.+)\.\d+\.\d+\.tmp")
"""The name of a draft, with that of the file."""


@contextlib.contextmanager
def replacing(path: Path, once: bool = False) -> Iterator[Path]:
    """Give a draft beside `path` to write to; at the end it takes the place of `path`. once: unless one is there.

    Readers see the old file or the new one, also after a power cut, and no later file is on the disk before it. What
    fails leaves the old one, and no draft. Raises UserError when the disk is full.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")  # as DRAFT says
    try:
        with full_disk(path):
            yield draft
            sync(draft)
            if once:
                with contextlib.suppress(FileExistsError):  # a link, unlike a replacement, never overwrites
                    os.link(draft, path)
                draft.unlink()
            else:
                os.replace(draft, path)
            sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def remove_drafts(folder: Path, seconds: float) -> None:
    """Remove what killed processes had begun to write. To be called by the process that the run's lock is held by.

    Drafts of run.json stay for some seconds: who holds no lock makes one as it creates a run.
    """
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            draft = DRAFT.fullmatch(path.name)
            if draft and (draft[1] != RUN or time.time() - path.stat().st_mtime > seconds):
                path.unlink()


def plain(value: Any) -> Any:
    """The value as JSON knows it: NaN and infinities become null, numpy and torch scalars numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any, once: bool = False) -> None:
    """Replace a JSON file as a whole. once: unless it is there."""
    with replacing(path, once) as draft:
        draft.write_text(json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")


# Reading


NEWER = "written by a newer version of this suite"


class Newer(Unreadable):
    """A record of a format that this code does not know."""


def read(path: Path) -> Any:
    """The content of a .json file, the rows of a .jsonl file, or the arrays of an .npz file, whole.

    A .jsonl file may be absent (no row), and its last line torn (its writer was killed), which is left out. Raises
    UserError naming file, line or key, and the way out, for all else that is wrong, also for what is of a wrong type
    (core/reading/file_kinds.py, search_kinds.py) and for what is beyond the limits of core.reading.
    """
    try:
        if path.suffix == ".jsonl":
            return _rows(path) if path.exists() else []
        return _content(path)
    except Newer as error:
        raise UserError(f"{path}: {error}") from error
    except (OSError, Unreadable) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: cannot be read ({why}); delete {path.parent.name} to run it again") from error


def try_read(path: Path) -> tuple[Any, str | None]:
    """What can be read of such a file, and what is wrong with it.

    (None, None) if it is not there; (None, 'is unreadable: ...') if nothing can be read or a type is wrong; of a .jsonl
    file the rows that can be read, and how many cannot.
    """
    if not os.path.lexists(path):
        return None, None
    try:
        return _readable_rows(path) if path.suffix == ".jsonl" else (_content(path), None)
    except OSError as error:
        return None, f"is unreadable: {error.strerror}"
    except Unreadable as error:
        return None, f"is unreadable: {error}"


_WRONG: dict[str, Callable[[Any], str]] = {
    RUN: file_kinds.wrong_run,
    SCORES: lambda value: misfit(value, file_kinds.Scores),
    STUDY: file_kinds.wrong_study,
    SEARCH: search_kinds.wrong_search,
    PROBES: file_kinds.wrong_arrays,
}


_ROWS = {SAMPLES: file_kinds.Sample, METRICS: file_kinds.Logged}


def _content(path: Path) -> Any:
    """The content of a .json or .npz file, of the right types. Raises OSError and Unreadable."""
    value: Any = reading.arrays(path) if path.suffix == ".npz" else reading.read_json(path)
    version = value.get("format") if path.name == RUN and isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise Newer(f"{NEWER} (format {version}); update to read it")
    if path.name in _WRONG and (wrong := _WRONG[path.name](value)):
        raise Unreadable(wrong)
    if path.name == SEARCH:
        arms = [arm | {"label": arm.get("label") or arm["name"]} for arm in value["arms"]]
        return search_kinds.FILLED | value | {"arms": arms} | _trials(value)
    if path.name != RUN:
        return value
    names = {"study": path.parent.parent.name, "label": value["arm"], "hash": path.parent.name[-8:]}
    return file_kinds.FILLED | names | value


def _trials(search: dict[str, Any]) -> dict[str, Any]:
    """The trials of a search that can be used, and what is wrong with the others."""
    names, trials = {arm["name"] for arm in search["arms"]}, search.get("trials", [])
    wrong = [search_kinds.wrong_trial(trial, names, number) for number, trial in enumerate(trials)]
    return {
        "trials": [trial for trial, fault in zip(trials, wrong, strict=True) if not fault],
        "damaged": [fault for fault in wrong if fault],
    }


def _row_fault(path: Path, row: Any) -> str:
    """What is wrong with a row, or nothing."""
    if isinstance(row, Unreadable):
        return str(row)
    return misfit(row, _ROWS[path.name]) if path.name in _ROWS else ""


def _rows(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, ended, row in reading.rows(path):
        wrong = _row_fault(path, row)
        if wrong and ended:
            raise UserError(f"{path}:{number}: not a row of it ({wrong}); delete the run to do it again")
        if ended and isinstance(row, dict):
            found.append(row)
    return found


def _readable_rows(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    rows = [(row, _row_fault(path, row)) for _, _, row in reading.rows(path)]
    good = [row for row, wrong in rows if isinstance(row, dict) and not wrong]
    broken = len(rows) - len(good)
    return good, f"has {broken} broken line{'s' * (broken > 1)}" if broken else None
