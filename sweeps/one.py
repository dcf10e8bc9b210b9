"""One arm with one seed, as python -m ablations.run makes it, and mirrored to W&B while it runs.

    python -m sweeps.one --preset tiny --noise_factor 4 --token_loss anchor
    torchrun --nproc-per-node 2 -m sweeps.one --preset gpu ...

The options are those of python -m ablations.run (--help lists them). W&B is offline unless there is a key or WANDB_MODE
says otherwise; `wandb sync` sends the run later. WANDB_MODE=disabled turns it off.
"""

import os
import sys
from pathlib import Path

from ablations import records
from ablations.run import parse
from core import signals
from core.checks import check
from core.errors import command
from sweeps.running import pool
from sweeps.wb import connection, tracking


def main() -> int:
    """Run one arm; status 0 when it is finished."""
    signals.end_on_sigterm(pool.GRACE_SECONDS)
    options = parse(sys.argv[1:], "sweeps.one", __doc__)
    check(options.run)
    connection.check_mode()
    from ablations.launch import launch  # brings in torch, which takes seconds: not for --help

    return launch(options.run, options.place, options.preset, track)


def track(folder: Path) -> records.Tracker:
    """The run in W&B; says where, if W&B's server is not told at once."""
    made = tracking.tracker(folder)
    if connection.mode() == "offline":
        logs = tracking.wandb_dir(folder) / "wandb" / "offline-run-*"
        print(f"W&B: offline; to send the run later: wandb sync {logs}", flush=True)
    return made


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(command(main)())
