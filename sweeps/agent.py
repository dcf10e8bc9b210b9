"""Run one of our W&B sweep files with no server: the sweep of `make sweep`, whose runs carry the sweep's id in W&B.

    python -m sweeps.agent sweeps/wandb/modules.yaml --workers 2
    python -m sweeps.agent my_sweep.yaml --count 20             # its first 20 points
    python -m sweeps.agent my_sweep.yaml --dry-run              # how its points stand

The files are those that `make wandb-sweep` writes, also edited: other values, fewer points, method grid or random,
run_cap. Workers, run folders and table are those of `make sweep STUDY=FILE`: started again, however it ended, it does
what is missing. `wandb sync` files the runs under their sweep, whose id is made from the file's content, or given
(--sweep-id). Runs are offline unless WANDB_MODE says otherwise. Files with another program are for `wandb agent`, which
needs a server.
"""

import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from ablations import command_line
from core.errors import UserError, command, outlive_output
from core.signals import end_on_sigterm
from sweeps.running import report
from sweeps.running.conduct import Sweep
from sweeps.running.options import SweepOptions, positive
from sweeps.running.point_runs import enter_sweep, in_sweep
from sweeps.running.prepare import prepare
from sweeps.wb import connection, sweep_file, tracking


@dataclass(frozen=True)
class Options:
    """Run one of our W&B sweep files with no server."""

    file: Annotated[Path, tyro.conf.Positional]
    """The sweep file (YAML)."""
    workers: int | None = None
    """Worker processes; none = one a core, or one a GPU."""
    count: int | None = None
    """Only the first N points of the sweep; none = all (of a random sweep: run_cap)."""
    sweep_id: str | None = None
    """Id of the sweep, such as that of a registered one; none = made from the file's content."""
    figures: Path = Path("figures")
    """Folder for the figures and the table."""
    storage: str | None = None
    """Optuna storage: as of sweeps.study."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Say how the points stand, and stop: status 1 while some are not done."""


def main() -> int:
    """The command: status 0 when every point is done, 1 when some failed."""
    options = command_line.read(Options, prog="python -m sweeps.agent", description=__doc__)
    connection.begin()
    file = sweep_file.load(options.file)
    count = None if options.count is None else positive("count", options.count)
    asked = SweepOptions(study=str(options.file), workers=options.workers, storage=options.storage)
    sweep, preset = prepare(asked, "sweeps.agent", count)
    sweep = replace(sweep, jobs=tuple(in_sweep(job, sweep_id(options, file)) for job in sweep.jobs))
    if options.dry_run:
        return int(report.show_plan(sweep, preset) > 0)
    set_environment(file)
    end_on_sigterm()
    outlive_output()
    before = [job.key for job in sweep.jobs if enter_sweep(job, sweep.runs)]
    status = report.conduct_and_report(sweep, options.figures)
    show_sync(sweep, len(before))
    return status


def sweep_id(options: Options, file: sweep_file.SweepFile) -> str:
    """The sweep's id. Raises UserError for a path of one."""
    if not re.fullmatch(r"[\w-]+", found := options.sweep_id or file.sweep_id):
        raise UserError(f"--sweep-id {found}: give the id alone, without entity and project")
    return found


def set_environment(file: sweep_file.SweepFile) -> None:
    """What the workers' runs in W&B take from the file; what the user has set stays."""
    given = {"WANDB_MODE": "offline", "WANDB_PROJECT": file.content.get("project")}
    given |= {"WANDB_ENTITY": file.content.get("entity")}
    for name, value in given.items():
        if value and not os.environ.get(name):
            os.environ[name] = str(value)


def show_sync(sweep: Sweep, before: int) -> None:
    """Say how W&B gets the runs; before: how many were finished without this sweep's id."""
    if before:
        said = f"{before} runs were finished before they had the sweep's id"
        print(f"{said}; to write them to W&B anew, with it: python -m sweeps.mirror {sweep.folder}")
    logs = tracking.wandb_dir(sweep.jobs[0].folder(sweep.runs)) / "wandb" / "offline-run-*"
    if any(logs.parent.glob(logs.name)):
        print(f"to send them to W&B: wandb sync {logs}")


if __name__ == "__main__":
    sys.exit(command(main)())
