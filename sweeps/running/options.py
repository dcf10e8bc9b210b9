"""Options that several commands share: which study, and how it is swept."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from core.config import RunConfig, width_of
from core.errors import UserError, masked_line
from core.memory import shown
from core.sizes import on_gpu
from sweeps.running import pool

MOST_WORKERS = 1000
LARGE, FEW, MANY = 1_000_000, 4, 8
"""Width times tokens of a batch from which an update keeps a GPU busy; workers a GPU from there on, and below. Nine
uncaptured workers of 512 wide filled an H200; how many captured ones do is not measured yet (`make bench-gpu` does)."""
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
    """Worker processes; none = one a core; on a GPU as many as its memory and the cores carry, at most 4 of large runs
    (512 wide with 8,192 tokens a batch, say) and 8 of small ones."""
    minutes: float | None = None
    """End cleanly after so many minutes, all saved (status 75); the same command goes on. none = until all is done."""
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


def positive(name: str, value: int, most: int | None = None) -> int:
    """The value. Raises UserError if it is below 1, or above `most`."""
    if value < 1:
        raise UserError(f"--{name} {value}: must be at least 1")
    if most is not None and value > most:
        raise UserError(f"--{name} {value}: is too large; at most {most:,}")
    return value


def workers_for(options: SweepOptions, devices: Sequence[str], config: RunConfig) -> int:
    """How many workers: as asked for, else one a core, or as many as the GPUs carry.

    Raises UserError, with the sizes, where a GPU's memory does not carry as many as were asked for.
    """
    asked = None if options.workers is None else positive("workers", options.workers, MOST_WORKERS)
    if not devices:
        return asked or pool.cores()
    room, need = pool.gpu_memory(), on_gpu(config)
    fitting = max(1, int(room // need))
    if asked is not None and -(-asked // len(devices)) > fitting:
        raise UserError(
            f"--workers {asked}: a run takes about {shown(need)} of a GPU's memory, and one with {shown(room)} carries "
            f"{fitting}; at most {fitting * len(devices)}"
        )
    most = FEW if config.training.batch_tokens * width_of(config) >= LARGE else MANY
    return asked or len(devices) * max(1, min(fitting, most, pool.cores() // len(devices)))


def typed(program: str) -> str:
    """The command line of this process, without passwords."""
    return masked_line(["python", "-m", program, *sys.argv[1:]])
