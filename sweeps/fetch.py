"""Read a study back from W&B and draw its table and figures, or its report, the same as from its run folders:

    python -m sweeps.fetch wandb:entity/project --out figures
    python -m sweeps.fetch wandb:entity/project --draw report
    python -m sweeps.fetch runs/modules/wandb                 # offline logs: .wandb files, or folders of them

The run folders (without checkpoints) are restored below --to. A project with several studies gives each; --study NAME
chooses one. Other options are those of `python -m analysis.figures` or `python -m analysis.report`.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablations import command_line
from core.errors import UserError, command
from sweeps.wb.fetch_runs import folders


@dataclass(frozen=True)
class Options:
    """Read a study back from W&B and draw its table and figures, or its report."""

    study: str | None = None
    """Which study, if the source holds several; none = all."""
    draw: Literal["figures", "report"] = "figures"
    """What is made of it: table and figures, or the report."""
    out: Path | None = None
    """Folder for what is drawn; none = figures, or report."""
    to: Path = Path("runs/.fetched")
    """Folder for the run folders that are read back; each source has its own below it, replaced when read again."""


def main() -> int:
    """The command."""
    arguments = sys.argv[1:]  # the sources come first, then the options
    first = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    sources, rest = arguments[:first], arguments[first:]
    parsed: Any = command_line.read(
        Options, prog="python -m sweeps.fetch SOURCE...", description=__doc__, args=rest, return_unknown_args=True
    )
    options, others = parsed
    if not sources:
        raise UserError(
            "what to read? python -m sweeps.fetch wandb:entity/project, or X.wandb, or a folder of such files"
        )
    studies = folders(sources, options.to, options.study, one=options.draw == "report")
    out = str(options.out or options.draw)
    named = [os.path.join(".", study) for study in studies]  # a name may begin with -
    line = [sys.executable, "-m", f"analysis.{options.draw}", *named, "--out", out, *others]
    return subprocess.run(line, check=False).returncode


if __name__ == "__main__":
    sys.exit(command(main)())
