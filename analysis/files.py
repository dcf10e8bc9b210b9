"""The files of a study folder, read one by one: what is unreadable is left out, and said.

Only a study.json that is there and unreadable is an error.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core import run_folder
from core.errors import UserError
from core.reading.typed import is_name, printable
from core.run_folder import try_read
from core.watching import each, stage


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn what the system refuses to write into a UserError that names the file and the way out."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UserError(f"{where}{error.strerror}; give another folder with --out (make: FIGURES=)") from error


def describe_written(written: Sequence[Path]) -> str:
    """One line on the files written into a folder: 'wrote figures/x: ablation, per_step (pdf, csv); table (md)'."""
    kinds: dict[str, list[str]] = {}
    for path in written:
        kinds.setdefault(path.stem, []).append(path.suffix[1:])
    stems: dict[str, list[str]] = {}
    for stem, suffixes in kinds.items():
        stems.setdefault(", ".join(suffixes), []).append(stem)
    return f"wrote {written[0].parent}: " + "; ".join(f"{', '.join(names)} ({kind})" for kind, names in stems.items())


def read_study(folder: Path) -> dict[str, Any] | None:
    """study.json of a study's folder; None if there is none. Raises UserError if it is there and unreadable."""
    path = folder / run_folder.STUDY
    info, complaint = try_read(path)
    if complaint:
        raise UserError(f"{path} {complaint}. Delete it and start the sweep again, which writes it anew")
    return info if isinstance(info, dict) else None


def read_records(path: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """All run.json by folder name, and the folders whose run.json cannot be used."""
    records: dict[str, dict[str, Any]] = {}
    broken = []
    files = sorted(path.glob(f"*/{run_folder.RUN}"))
    stage("reading the runs")
    for file in each(files, len(files)):
        if not is_name(file.parent.name):
            name = printable(file.parent.name)
            broken.append(failure(name, {"state": "broken"}, "the name of its folder is none that a sweep gives"))
            continue
        record, complaint = try_read(file)
        if isinstance(record, dict):
            records[file.parent.name] = record
        else:
            broken.append(failure(file.parent.name, {"state": "broken"}, f"{run_folder.RUN} {complaint}"))
    return records, broken


def failure(name: str, record: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """A row of StudyResults.failed."""
    arm = record.get("arm", name)
    return {
        "run": name,
        "arm": arm,
        "label": record.get("label") or arm,
        "seed": record.get("seed", -1),
        "state": record.get("state", "unknown"),
        "reason": reason,
    }


def read_each(path: Path, names: Collection[str], file: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What can be read of a file of each run, by run, and what is wrong with it; absent ones are left out."""
    stage(f"reading {file}")
    read = {name: try_read(path / name / file) for name in each(names, len(names))}
    damaged = {name: complaint for name, (_, complaint) in read.items() if complaint}
    return {name: content for name, (content, _) in read.items() if content is not None}, damaged
