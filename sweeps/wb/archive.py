"""The small files of a run folder as rows of its W&B history, so that the log alone can give the folder back.

They are zipped and written as text (base 85) in parts of 64,000 characters under archive/*, which charts and summary
leave out. A tiny run's are 165 KB as files and 43 KB in the log. Checkpoints stay where they are.
"""

import base64
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FILES = ("run.json", "scores.json", "probes.npz", "metrics.jsonl", "samples.jsonl")
STUDY = "study.json"
PART = 64_000
LIMIT = 16_000_000
"""Most bytes of all files; one that does not fit any more is left out (the rows of metrics.jsonl are there anyway)."""


def places(folder: Path) -> dict[str, Path]:
    """Where each file is: in the run folder, study.json beside it."""
    return {STUDY: folder.parent / STUDY} | {name: folder / name for name in FILES}


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows that hold a run's files."""
    packed = base64.b85encode(pack(places(folder))).decode()
    parts = [packed[i : i + PART] for i in range(0, len(packed), PART)]
    for number, part in enumerate(parts):
        yield {"archive/part": number, "archive/of": len(parts), "archive/data": part}


def pack(paths: Mapping[str, Path]) -> bytes:
    """A zip of the files that are there, in this order, as far as the limit allows."""
    stream, left = io.BytesIO(), LIMIT
    with zipfile.ZipFile(stream, "w") as archive:
        for name, path in paths.items():
            if path.is_file() and path.stat().st_size <= left:
                content = path.read_bytes()
                archive.writestr(
                    zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED
                )  # no dates: same files, same bytes
                left -= len(content)
    return stream.getvalue()


def unpack(history: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """The files by name from the rows of a history; empty if it holds none, or the last archive is not whole.

    One that would unfold to more than the limit was not packed here, and counts as none.
    """
    parts: list[str] = []
    expected: Any = None
    for row in history:
        if isinstance(part := row.get("archive/data"), str):
            parts = [*parts, part] if row.get("archive/part") == len(parts) != 0 else [part]
            expected = row.get("archive/of")
    if len(parts) != expected:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(base64.b85decode("".join(parts)))) as archive:
            if sum(info.file_size for info in archive.infolist()) > LIMIT:
                return {}
            return {name: archive.read(name) for name in archive.namelist() if name in (*FILES, STUDY)}
    except Exception:  # whoever packed it: each way to be no archive has an error of its own
        return {}
