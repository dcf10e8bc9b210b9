"""The files of a study folder, read one by one: what is unreadable is left out, and said.

Only a study.json that is there and unreadable is an error.
"""

import contextlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn what the system refuses to write into a UserError that names the file and the way out."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UserError(f"{where}{error.strerror}; give another folder with --out (make: FIGURES=)") from error


def told(written: Sequence[Path]) -> str:
    """One line on the files written into a folder: 'wrote figures/x: ablation, per_step (pdf, csv); table (md)'."""
    kinds: dict[str, list[str]] = {}
    for path in written:
        kinds.setdefault(path.stem, []).append(path.suffix[1:])
    stems: dict[str, list[str]] = {}
    for stem, suffixes in kinds.items():
        stems.setdefault(", ".join(suffixes), []).append(stem)
    return f"wrote {written[0].parent}: " + "; ".join(f"{', '.join(names)} ({kind})" for kind, names in stems.items())


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if it is absent or unreadable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_study(path: Path) -> dict[str, Any] | None:
    """study.json; None if there is none. Raises UserError if it is there and unreadable."""
    if not path.exists():
        return None
    info = read_json(path)
    if not isinstance(info, dict):
        raise UserError(f"{path} is not readable JSON: delete it and start the sweep again, which writes it anew")
    return info


def read_records(path: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """All run.json by folder name, and the folders whose run.json cannot be used."""
    records: dict[str, dict[str, Any]] = {}
    broken = []
    for file in sorted(path.glob("*/run.json")):
        record = read_json(file)
        if isinstance(record, dict) and "arm" in record and isinstance(record.get("seed"), int):
            records[file.parent.name] = record
        else:
            broken.append(failure(file.parent.name, {"state": "broken"}, "run.json is unreadable or incomplete"))
    return records, broken


def failure(name: str, record: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """A row of Study.failed."""
    arm = record.get("arm", name)
    return {
        "run": name,
        "arm": arm,
        "label": record.get("label") or arm,
        "seed": record.get("seed", -1),
        "state": record.get("state", "unknown"),
        "reason": reason,
    }


def read_scores(path: Path) -> dict[str, Any] | None:
    """scores.json of a run, or None if it is absent or unreadable."""
    scores = read_json(path)
    return scores if isinstance(scores, dict) else None


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of a JSON-lines file and the number of broken lines (a kill leaves the last one unfinished)."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [], 0
    rows, broken = [], 0
    for line in filter(str.strip, lines):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            broken += 1
    return rows, broken


def read_probes(path: Path, names: Iterable[str]) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """probes.npz by run; runs without one are absent, unreadable ones noted."""
    probes, notes = {}, []
    for name in names:
        file = path / name / "probes.npz"
        if not file.exists():
            continue
        try:
            with np.load(file, allow_pickle=False) as arrays:
                probes[name] = {key: arrays[key] for key in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            notes.append(f"{name}: probes.npz is unreadable and left out")
    return probes, notes
