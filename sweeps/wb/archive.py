"""The small files of a run folder as rows of its W&B history, so that the log alone can give the folder back.

They are packed (packing.py) and written as text (base 85) in parts of 64,000 characters under archive/*, which charts
and summary leave out. A tiny run's are 165 KB as files and 43 KB in the log. Checkpoints stay where they are.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.run_folder import METRICS, PROBES, RUN, SAMPLES, SCORES, STUDY
from sweeps import packing

FILES = (RUN, SCORES, PROBES, METRICS, SAMPLES)
PART = 64_000
LIMIT = 16_000_000
"""Most bytes of all files; one that does not fit any more is left out (the rows of metrics.jsonl are there anyway)."""


def places(folder: Path) -> dict[str, Path]:
    """Where each file is: in the run folder, study.json beside it."""
    return {STUDY: folder.parent / STUDY} | {name: folder / name for name in FILES}


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows that hold a run's files: those that are there, as far as the limit allows."""
    files, left = dict[str, bytes](), LIMIT
    for name, path in places(folder).items():
        if path.is_file() and path.stat().st_size <= left:
            files[name] = path.read_bytes()
            left -= len(files[name])
    text = base64.b85encode(packing.pack(files)).decode()
    parts = [text[i : i + PART] for i in range(0, len(text), PART)]
    for number, part in enumerate(parts):
        yield {"archive/part": number, "archive/of": len(parts), "archive/data": part}


def unpack(history: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """The files by name from the rows of a history; empty if it holds none, or the last archive is not whole.

    One that was not packed here, such as one that would unfold to more than the limit, counts as none.
    """
    parts: list[str] = []
    expected: Any = None
    for row in history:
        if isinstance(part := row.get("archive/data"), str):
            if row.get("archive/part") != len(parts):
                parts = []
            parts.append(part)
            expected = row.get("archive/of")
    if len(parts) != expected:
        return {}
    try:
        return packing.unpack(base64.b85decode("".join(parts)), (*FILES, STUDY), LIMIT)
    except (UserError, ValueError):
        return {}
