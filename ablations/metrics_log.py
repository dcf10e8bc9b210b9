"""metrics.jsonl: rows appended one by one, each whole on disk before the run goes on."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.reading import parse_json
from core.run_folder import full_disk, plain, read, replacing, sync


class MetricsLog:
    """Appends rows to metrics.jsonl, each flushed whole, so that a killed run keeps all but at most its last one.

    `resume_step`: step of the checkpoint a run goes on from; later rows (and a torn line) are dropped, so no step
    is there twice. None: from the beginning. `mirror` (a tracker's `log`) is given the rows kept and each new one.
    """

    def __init__(
        self, path: Path, resume_step: int | None = None, mirror: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self.path, self.mirror = path, mirror
        kept = [] if resume_step is None else read(path)
        kept = [row for row in kept if row.get("train/step", 0) <= (resume_step or 0)]
        if path.is_file():
            self._replace(kept)
        self.file = open(path, "ab")  # noqa: SIM115 (open as long as the run)
        if mirror:
            for row in kept:
                mirror(row)

    def _replace(self, rows: list[dict[str, Any]]) -> None:
        with replacing(self.path) as draft:
            draft.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row. Raises UserError naming the file when the disk is full."""
        line = json.dumps(plain(row), allow_nan=False) + "\n"
        with full_disk(self.path):
            self.file.write(line.encode())
            self.file.flush()
        if self.mirror:
            self.mirror(plain(row))

    def close(self) -> None:
        """Close the file, once it is on the disk."""
        with contextlib.suppress(OSError):
            sync(self.path)
            self.file.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def progress(config: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[int, int]:
    """(done, in all) of a training with these options and this newest row: updates, or seconds where they end it."""
    if seconds := config.get("training_seconds"):
        return int(row.get("train/seconds", 0)), round(seconds)
    return row.get("train/step", 0), int(config.get("updates") or 0)


def latest(path: Path, size: int = 16384) -> dict[str, Any]:
    """The newest number of each key among the last rows (about `size` bytes): cheap enough to ask every second."""
    row: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        start = max(file.seek(0, os.SEEK_END) - size, 0)
        file.seek(start)
        for line in file.read().split(b"\n")[1 if start else 0 : -1]:
            with contextlib.suppress(ValueError, AttributeError):  # broken, or no mapping
                row |= {name: value for name, value in parse_json(line).items() if _is_number(value)}
    return row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
