"""A worker of a search: like a sweep's worker, but it waits for more, and ends a training that promises too little.

Runs are trained and scored on the validation set (ablations/trial.py). After each validation the worker tells Optuna
and asks the search's pruner. Started by the search, it ends with it; started by hand, it ends when nothing waits.
"""

import sys
import time
from functools import partial

from ablations import command_line, records
from core.errors import command
from core.signals import end_on_sigterm
from sweeps.running.attempt import Execute
from sweeps.running.options import WorkerOptions
from sweeps.running.pool import GRACE_SECONDS, follow_parent
from sweeps.running.storage import chosen, open_storage
from sweeps.running.trials import Queue
from sweeps.running.work import Worker
from sweeps.tuning.stop import train_and_validate

IDLE_SECONDS = 0.5


def main(execute: Execute | None = None) -> int:
    """The command. `execute` runs one run of a search into its claimed folder, and finishes it."""
    options = command_line.read(WorkerOptions, prog="python -m sweeps.tuning.trial_worker", description=__doc__)
    alone = options.wanted != "-"
    if not alone:
        follow_parent()
    end_on_sigterm(GRACE_SECONDS)
    queue = Queue.load(open_storage(chosen(options.storage) or ""), options.queue)
    do = execute or partial(train_and_validate, queue.storage)
    worker = Worker(queue, options.runs, options.study, options.metric, do, alone, patience=options.patience)
    try:
        while (taken := worker.take()) is not None or not alone:
            if taken is None:
                time.sleep(IDLE_SECONDS)
            else:
                worker.run(*taken)
    finally:
        records.leave_all()
    return 0


if __name__ == "__main__":
    sys.exit(command(main)())
