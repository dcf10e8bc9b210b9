"""From what W&B holds of a run back to the files of its run folder."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.reading import parse_json
from core.reading.file_kinds import wrong_run
from core.run_folder import METRICS, RUN, SCORES, plain
from sweeps.wb import archive

OWN = ("train/", "val/", "diag/")
"""Metrics of metrics.jsonl; the others are drawn from scores and probes."""
PLAIN = re.compile(r"[\w.=+-]+")
LONGEST = 255
"""Bytes of a folder's name, at most."""


@dataclass(frozen=True)
class Held:
    """A run as W&B holds it. where: for messages. rows: its whole history. files: those of its outputs artifact."""

    where: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: Iterable[Mapping[str, Any]]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Restored:
    """A run folder's files by name, and the names of those that W&B does not hold."""

    record: dict[str, Any]
    files: dict[str, bytes]
    missing: tuple[str, ...]

    @property
    def study(self) -> str:
        """The name of its study's folder."""
        return str(self.record["study"])

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.record['arm']}-s{self.record['seed']}-{self.record['hash']}"

    @property
    def lateness(self) -> tuple[bool, str]:
        """What the later of two copies has more of: finished, and when."""
        return self.record.get("state") == "finished", str(self.record.get("finished") or "")


def restore_run(held: Held) -> Restored | None:
    """The files of a run; None if it is none of this suite's.

    They come as they were from the outputs artifact or the archive in the history. A run that was killed has neither:
    its record comes from the configuration, its rows and scores from history and summary.
    """
    files = dict(held.files)
    if RUN not in files:
        rows = list(held.rows)
        files = _from_history(held, rows) | archive.unpack(rows)
    record = _record(files.get(RUN, b""))
    if record is None:
        return None
    return Restored(record, files, tuple(name for name in archive.FILES if name not in files))


def _record(content: bytes) -> dict[str, Any] | None:
    """The record of a run, if it is one and its names make a folder below ours and nowhere else."""
    try:
        record = parse_json(content)
        study, arm, hash_ = names = [str(record[key]) for key in ("study", "arm", "hash")]
        sound = isinstance(record["seed"], int) and all(PLAIN.fullmatch(n) and n.strip(".") for n in names)
        sound &= not wrong_run(record)
        sound &= all(len(n.encode()) <= LONGEST for n in (study, f"{arm}-s{record['seed']}-{hash_}"))
    except (ValueError, KeyError, TypeError):
        return None
    return record if sound else None


def _from_history(held: Held, rows: list[Mapping[str, Any]]) -> dict[str, bytes]:
    """run.json, metrics.jsonl and scores.json made again of what was logged one by one."""
    made = {METRICS: "".join(json.dumps(row) + "\n" for row in metrics(rows)).encode()}
    if isinstance(held.config.get("record"), Mapping):
        made[RUN] = json.dumps(plain(held.config["record"])).encode()
    scores = {name[5:]: value for name, value in held.summary.items() if name.startswith("test/")}
    if scores:
        steps = [_under("by_steps/", row) for row in rows if "by_steps/steps" in row]
        made[SCORES] = json.dumps(plain(scores | {"by_steps": steps})).encode()
    return made


def metrics(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl in a history (a value that is not a number is absent in both ways of reading them)."""
    kept = [{name: value for name, value in row.items() if name.startswith(OWN)} for row in rows]
    kept = [{name: value for name, value in row.items() if value is not None} for row in kept]
    return [row for row in kept if "train/step" in row]


def _under(prefix: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def write(runs: Iterable[Restored], root: Path) -> dict[str, list[Restored]]:
    """Write runs as folders below root, study by study; of one held twice the later (finished, if one is) counts.

    Studies by name, with what was written. Each gets the study.json of the run that finished last.
    """
    studies: dict[str, dict[str, Restored]] = {}
    for run in sorted(runs, key=lambda run: run.lateness):
        studies.setdefault(run.study, {})[run.name] = run
    for study, found in studies.items():
        for run in found.values():
            (folder := root / study / run.name).mkdir(parents=True, exist_ok=True)
            for name, content in run.files.items():
                (folder.parent if name == archive.STUDY else folder).joinpath(name).write_bytes(content)
    return {study: list(found.values()) for study, found in studies.items()}
