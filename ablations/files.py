"""Files that survive a killed process and a full disk: JSON replaced as a whole, and JSON lines (metrics.jsonl)."""

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError


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


def lighten(folder: Path) -> None:
    """Delete the weights of a run whose scores are all that is still needed."""
    for path in folder.glob("*.safetensors"):
        path.unlink(missing_ok=True)


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
