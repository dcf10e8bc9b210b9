"""Run a study: every arm with every seed, on as many workers as there are cores. The command behind `make sweep`.

    python -m sweeps.study                                        # the 2x2x2 of the paper's modules, embedded corpus
    python -m sweeps.study --study noise_factor --seeds 5
    python -m sweeps.study --data path/to/multi30k --src de --tgt en --preset small
    python -m sweeps.study --study sweeps/wandb/modules.yaml          # the same points as W&B's agents get of this file
    python -m sweeps.study --only anchor+norm+F4 --set updates=50 --dry-run

Started again, however it ended, it does only what is missing. What is done lies in runs/<study>/, a folder a run.
"""

import sys

from ablations import command_line
from core.errors import command, outlive_output
from core.signals import end_on_sigterm
from sweeps.running import report
from sweeps.running.options import SweepOptions
from sweeps.running.prepare import prepare


def main() -> int:
    """The command: status 1 if a run failed."""
    options = command_line.read(SweepOptions, prog="python -m sweeps.study", description=__doc__)
    sweep, preset = prepare(options, "sweeps.study")
    if options.dry_run:
        report.show_plan(sweep, preset)
        return 0
    end_on_sigterm()
    outlive_output()
    return report.conduct_and_report(sweep, options.figures)


if __name__ == "__main__":
    sys.exit(command(main)())
