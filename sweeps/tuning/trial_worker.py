"""A worker of a search: like a sweep's worker, but it waits for more, and ends a training that promises too little.

Runs are trained and scored on the validation set (ablations/trial.py). After each validation the worker tells Optuna
and asks the search's pruner. Started by the search, it ends with it; started by hand, it ends when nothing waits.
"""

import signal
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage

from ablations import command_line, records
from core.config import RunConfig
from core.errors import command
from sweeps import worker
from sweeps.running.storage import chosen, open_storage
from sweeps.running.trials import Queue
from sweeps.tuning.ledger import Ledger
from sweeps.tuning.points import pruner_for

IDLE_SECONDS = 0.5


def real(storage: BaseStorage, config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Train and validate one run of a search."""
    from ablations import arm, trial  # on demand: brings in torch, which says nothing about wrong options

    stop = Stop(storage, records.read(folder)["search"])
    trial.execute(config, folder, tracker, arm.Place(), stop)


class Stop:
    """Reports each validation of a run to its trial in Optuna; true when the pruner would end it.

    facts: what the run's record says of its search. The last validation of a training never ends it: only the score
    is missing then.
    """

    def __init__(self, storage: BaseStorage, facts: Mapping[str, Any]) -> None:
        self.storage, self.facts = storage, facts

    def __call__(self, step: int, bleu: float) -> bool:
        if self.facts["pruner"] != "median":
            return False
        pruner = pruner_for(self.facts["pruner"], self.facts["updates"])
        ledger = Ledger(self.storage, self.facts["optuna_study"], ("maximize",), pruner)
        try:
            trial = self.storage.get_trial(self.facts["trial_id"])
            ledger.report(trial, self.facts["offset"] + step, bleu)
            return step < self.facts["updates"] and ledger.hopeless(trial)
        except (KeyError, UpdateFinishedTrialError):  # the trial is over, or the storage a new one
            return False


def main(execute: worker.Execute | None = None) -> int:
    """The command. `execute` runs one run of a search into its claimed folder, and finishes it."""
    options = command_line.read(worker.Options, prog="python -m sweeps.tuning.trial_worker", description=__doc__)
    wanted = worker._follow_parent() if options.wanted == "-" else None
    signal.signal(signal.SIGTERM, worker._end)
    queue = Queue.load(open_storage(chosen(options.storage) or ""), options.queue)
    do = execute or partial(real, queue.storage)
    try:
        while True:
            taken = worker.take(queue, options, None)
            if taken is not None:
                worker.run(queue, *taken, options, do)
            elif wanted is None:
                return 0
            else:
                time.sleep(IDLE_SECONDS)
    finally:
        records.leave_all()


if __name__ == "__main__":
    sys.exit(command(main)())
