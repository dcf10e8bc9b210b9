"""Options that several commands share: which study, and how it is swept."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from core.errors import UserError, masked_line
from sweeps.running import pool

_SET = tyro.conf.arg(name="set", metavar="NAME=VALUE")


@dataclass(frozen=True)
class StudyOptions:
    """Which study, on which text, with how many seeds: what every command about a study asks."""

    study: str = "modules"
    """Which study (ablations/studies.py lists them). sweeps.study alone also takes the path of a sweep file."""
    preset: str | None = None
    """Sizes and data recipe (ablations/presets.py); none = tiny for the embedded corpus, small for a folder."""
    data: str | None = None
    """Folder of {train,valid,test}.{src,tgt}[.gz]; none = the embedded corpus."""
    src: str = "de"
    """Suffix of the source files in the folder."""
    tgt: str = "en"
    """Suffix of the target files in the folder."""
    seeds: int | None = None
    """Number of seeds: each arm runs with seeds 1 to N; none = as the preset says."""
    runs: Path = Path("runs")
    """Folder for the run folders: runs/<study>/<arm>-s<seed>-<hash>/."""
    overrides: Annotated[tuple[str, ...], _SET, tyro.conf.UseAppendAction] = ()
    """Set an option for every arm, e.g. --set updates=300 (python -m ablations.run --help lists them)."""


@dataclass(frozen=True)
class SweepOptions(StudyOptions):
    """Options of a sweep."""

    workers: int | None = None
    """Worker processes; none = one a core, or one a GPU."""
    figures: Path = Path("figures")
    """Folder for the figures and the table."""
    storage: str | None = None
    """Optuna storage: path of a journal file, or a URL (sqlite:///, postgresql://, mysql://, grpc://; redis:// after
    pip install redis); none = what the variable SWEEP_STORAGE says, else optuna.journal in the folder of the study or
    search."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List what would run, and stop."""
    only: Annotated[tuple[tuple[str, ...], ...], tyro.conf.arg(metavar="ARM..."), tyro.conf.UseAppendAction] = ()
    """Run these arms alone."""


def positive(name: str, value: int) -> int:
    """The value. Raises UserError if it is below 1."""
    if value < 1:
        raise UserError(f"--{name} {value}: must be at least 1")
    return value


def workers_for(options: SweepOptions, devices: Sequence[str]) -> int:
    """How many workers: as asked for, else one a GPU or one a core."""
    return (len(devices) or pool.cores()) if options.workers is None else positive("workers", options.workers)


def typed(program: str) -> str:
    """The command line of this process, without passwords."""
    return masked_line(["python", "-m", program, *sys.argv[1:]])
