"""A worker of a sweep: takes waiting runs from the Optuna study, one after another, until none is left.

    python -m sweeps.worker --storage postgresql://user@host/database           # help with a sweep begun elsewhere
    python -m sweeps.worker --storage grpc://host:13000 --study modules --data path/to/multi30k

This host needs the same text (its digest is compared) and no file of the other: results go back through the storage.
A password is best kept in the environment: SWEEP_STORAGE=postgresql://user:password@host/database.

A sweep or search starts its workers itself, with `--wanted -`: the runs it wants stand on the first line of standard
input, whose end says that the sweep is gone; the worker then closes what it is doing, as it does on SIGTERM. A search's
worker waits for more when nothing waits.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ablations import command_line, records
from core.errors import UserError, command, masked_word
from core.signals import end_on_sigterm
from sweeps.running import join, plan, storage
from sweeps.running.attempt import Execute, train_and_score
from sweeps.running.pool import GRACE_SECONDS, follow_parent
from sweeps.running.trials import Queue
from sweeps.running.work import PATIENCE_SECONDS, Worker
from sweeps.tuning.stop import train_and_validate
from sweeps.wb import connection

SEARCH_IDLE_SECONDS = 0.5


@dataclass(frozen=True)
class Options:
    """Take waiting runs of a sweep and run them, one after another, until none is left."""

    storage: str = ""
    """The sweep's storage: URL, or path of the journal file; none = the variable SWEEP_STORAGE."""
    queue: str = ""
    """Name of the sweep in the storage (study.json: optuna_study); none = the only one, or that of --study."""
    study: str = ""
    """Name of the study's folder, if the storage holds several sweeps."""
    runs: Path = Path("runs")
    """Folder of all runs on this host."""
    data: str | None = None
    """Folder of the text on this host; none = where the sweep has it."""
    metric: str = ""
    """The score that Optuna is told; none = as the sweep says."""
    patience: float = PATIENCE_SECONDS
    """Seconds to wait for a storage that does not answer before giving up; results then stay in the run folders."""
    wanted: str = ""
    """'-': read from standard input which runs to take, and end with it; empty: any run, whoever waits for it."""


def main(execute: Execute | None = None) -> int:
    """The command. `execute` runs one run into its claimed folder, and finishes it."""
    options = command_line.read(Options, prog="python -m sweeps.worker", description=__doc__)
    connection.begin()
    wanted = follow_parent() if options.wanted == "-" else None
    end_on_sigterm(GRACE_SECONDS)
    where = storage.resolve(options.storage)
    if where is None:
        raise UserError("no storage: give --storage URL (make worker STORAGE=URL), the one that the sweep was given")
    if wanted is None:
        storage.present(where)
    opened = storage.open_storage(where)
    queue = Queue.load(opened, options.queue or join.queue_for(opened, options.study))
    if wanted is None and queue.of_search:
        raise UserError(f"{queue.name} is a search, which needs its run folder: start make search where that is")
    study, metric = options.study or queue.facts["study"], options.metric or queue.facts.get("metric", "")
    worker = Worker(
        queue,
        options.runs,
        plan.checked_name(study),
        metric,
        execute or (partial(train_and_validate, opened) if queue.of_search else train_and_score),
        helping=wanted is None,
        wanted=None if queue.of_search else wanted,
        data=options.data,
        patience=options.patience,
    )
    try:
        if worker.helping:
            join.help_out(worker)
        while (taken := worker.take()) is not None or queue.of_search:
            if taken is None:
                time.sleep(SEARCH_IDLE_SECONDS)
            else:
                worker.run(*taken)
    except Exception as error:
        if not storage.lost(error):
            raise
        raise UserError(
            f"--storage {masked_word(where)}: does not answer any more ({storage.reason(error)})"
        ) from error
    finally:
        records.leave_all()
    return 0


if __name__ == "__main__":
    sys.exit(command(main)())
