"""What a dashboard shows of a study: its description and, as analysis.snapshot has them, colours and tables."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.run_folder import RUN, try_read
from sweeps.wb.tracking import Identity, identity

HASH = 8
"""Length of the hash at the end of a run folder's name."""


@dataclass(frozen=True)
class Facts:
    """A study.

    info: study.json's content. found: its snapshot. metric: the score that it is judged by. factors: factor -> levels;
    these toggles are keys of every run's configuration. arms: name, label, toggles and values of each. colors: arm ->
    colour. runs: folder name -> what the run is called in W&B, of all that are planned. results: how many have one.
    """

    name: str
    info: Mapping[str, Any]
    found: Mapping[str, Any]
    metric: str
    factors: Mapping[str, list[Any]]
    arms: list[dict[str, Any]]
    colors: Mapping[str, str]
    runs: Mapping[str, Identity]
    results: int


def arm_of(key: str) -> str:
    """The arm in the name of a run folder."""
    return key.rpartition("-s")[0]


def read(folder: Path) -> Facts:
    """The facts of runs/<study>. Raises UserError if there is no such study."""
    line = [sys.executable, "-m", "analysis.snapshot", str(folder)]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("error: ") or f"{folder}: analysis.snapshot failed")
    found = json.loads(done.stdout)
    name, info = found["name"], found["info"]
    return Facts(
        name,
        info,
        found,
        metric=str(info.get("metric") or "bleu"),
        factors=info.get("factors") or {},
        arms=info.get("arms") or [],
        colors=found["colors"],
        runs={key: _identity(folder / key, name) for key in info.get("runs") or []},
        results=found["results"],
    )


def _identity(folder: Path, study: str) -> Identity:
    record = try_read(folder / RUN)[0] or {}
    key = folder.name
    return identity({"study": study, "arm": arm_of(key), "hash": key[-HASH:], "wandb": record.get("wandb")})
