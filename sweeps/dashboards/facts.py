"""What a dashboard shows of a study: its description and, as analysis.snapshot has them, colours and tables."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations import records
from ablations.studies import STUDIES
from core.errors import UserError
from core.run_folder import RUN
from sweeps.wb.tracking import Identity, identity

HASH = 8
"""Length of the hash at the end of a run folder's name."""


@dataclass(frozen=True)
class Facts:
    """A study: its folder and name, study.json's content, arm -> colour, and the rest of its snapshot."""

    folder: Path
    name: str
    info: Mapping[str, Any]
    colors: Mapping[str, str]
    found: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The score that the study is judged by."""
        return str(self.info.get("metric") or "bleu")

    @property
    def factors(self) -> dict[str, list[Any]]:
        """Factor -> levels: the toggles, which are keys of every run's configuration."""
        return dict(self.info.get("factors") or {})

    @property
    def arms(self) -> list[dict[str, Any]]:
        """Name, label, toggles and values of each arm."""
        return list(self.info.get("arms") or [])

    @property
    def results(self) -> int:
        """How many runs have a result."""
        return int(self.found.get("results", 0))

    @property
    def planned(self) -> int:
        """How many runs the sweep has."""
        return max(len(self.info.get("runs") or []), self.results)

    @property
    def question(self) -> str:
        """What the study asks, if it is one of ours."""
        ours = [s for s in STUDIES.values() if list(s.factors) == list(self.factors) and self.name.startswith(s.name)]
        return ours[0].question if ours else "What does each level of the study's factors buy?"

    def runs(self) -> dict[str, Identity]:
        """What every planned run is called in W&B, by the name of its folder."""
        return {key: self._identity(key) for key in self.info.get("runs") or []}

    def _identity(self, key: str) -> Identity:
        path = self.folder / key / RUN
        record = records.read(path.parent) if path.exists() else {}
        return identity({"study": self.name, "arm": arm_of(key), "hash": key[-HASH:], "wandb": record.get("wandb")})

    @property
    def groups(self) -> list[str]:
        """The groups in W&B that runs of the study are in: its name, and what a sweep's agent said."""
        return sorted({self.name} | {each.group for each in self.runs().values()})


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
    return Facts(folder, found["name"], found["info"], found["colors"], found)
