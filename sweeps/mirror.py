"""Write the W&B runs of a study anew from its run folders: python -m sweeps.mirror runs/modules

For when W&B failed, was off, or its files were lost. Finished and failed runs are written, with all their rows.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ablations import command_line, records
from core.errors import UserError, command
from sweeps.wb import connection, tracking


@dataclass(frozen=True)
class Options:
    """Write the W&B runs of a study anew from its run folders."""

    study: Annotated[Path, tyro.conf.Positional]
    """The study's folder, e.g. runs/modules."""


def main() -> int:
    """The command."""
    study = command_line.read(Options, prog="python -m sweeps.mirror", description=__doc__).study
    connection.begin()
    folders = sorted(path.parent for path in study.glob("*/run.json"))
    folders = [f for f in folders if records.read(f)["state"] in ("finished", "failed") and not records.busy(f)]
    if not folders:
        raise UserError(f"{study}: no finished or failed runs here; give the folder of a study, e.g. runs/modules")
    mode = connection.mode()
    if mode == "disabled":
        raise UserError("WANDB_MODE=disabled turns W&B off; unset it, or use WANDB_MODE=offline")
    well = 0
    for folder in folders:
        print(folder.name, flush=True)
        well += tracking.mirror(folder, mode)
    print(f"{well} of {len(folders)} runs written ({mode}) to {tracking.wandb_dir(folders[0]) / 'wandb'}")
    return 0 if well == len(folders) else 1


if __name__ == "__main__":
    sys.exit(command(main)())
