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
from core.reading.typed import printable
from sweeps.wb import connection, tracking


@dataclass(frozen=True)
class Options:
    """Write the W&B runs of a study anew from its run folders."""

    study: Annotated[Path, tyro.conf.Positional]
    """The study's folder, e.g. runs/modules."""


def ended(folder: Path) -> bool:
    """Whether a run is finished or failed, and nobody at work on it; one that cannot be read is named."""
    try:
        return records.read(folder)["state"] in ("finished", "failed") and not records.busy(folder)
    except UserError as error:
        print(printable(f"left out: {error}"), file=sys.stderr)
        return False


def main() -> int:
    """The command."""
    study = command_line.read(Options, prog="python -m sweeps.mirror", description=__doc__).study
    connection.begin()
    folders = [folder for folder in sorted(path.parent for path in study.glob("*/run.json")) if ended(folder)]
    if not folders:
        raise UserError(f"{study}: no finished or failed runs here; give the folder of a study, e.g. runs/modules")
    mode = connection.mode()
    if mode == "disabled":
        raise UserError("WANDB_MODE=disabled turns W&B off; unset it, or use WANDB_MODE=offline")
    well = 0
    for folder in folders:
        print(folder.name, flush=True)
        try:
            well += tracking.mirror(folder, mode)
        except UserError as error:  # its files are damaged; the others are not
            print(printable(f"left out: {error}"), file=sys.stderr)
    print(f"{well} of {len(folders)} runs written ({mode}) to {tracking.wandb_dir(folders[0]) / 'wandb'}")
    return 0 if well == len(folders) else 1


if __name__ == "__main__":
    sys.exit(command(main)())
