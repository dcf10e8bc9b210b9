"""A worker of a sweep: takes waiting runs from the Optuna study, one after another, until none is left.

    python -m sweeps.worker --storage postgresql://user@host/database           # help with a sweep begun elsewhere
    python -m sweeps.worker --storage grpc://host:13000 --study modules --data path/to/multi30k

This host needs the same text (its digest is compared) and no file of the other: results go back through the storage.
A password is best kept in the environment: SWEEP_STORAGE=postgresql://user:password@host/database.

A sweep starts its workers itself, with `--wanted -`: the runs it wants stand on the first line of standard input,
whose end says that the sweep is gone; the worker then closes what it is doing, as it does on SIGTERM.
"""

import sys

from ablations import command_line, records
from core.errors import UserError, command
from core.signals import end_on_sigterm
from sweeps.running import join, plan, storage
from sweeps.running.attempt import Execute, train_and_score
from sweeps.running.options import WorkerOptions
from sweeps.running.pool import GRACE_SECONDS, follow_parent
from sweeps.running.trials import Queue
from sweeps.running.work import Worker
from sweeps.wb import connection


def main(execute: Execute = train_and_score) -> int:
    """The command."""
    options = command_line.read(WorkerOptions, prog="python -m sweeps.worker", description=__doc__)
    connection.check_mode()
    wanted = follow_parent() if options.wanted == "-" else None
    end_on_sigterm(GRACE_SECONDS)
    where = storage.chosen(options.storage)
    if where is None:
        raise UserError("no storage: give --storage URL (make worker STORAGE=URL), the one that the sweep was given")
    if wanted is None:
        storage.present(where)
    opened = storage.open_storage(where)
    queue = Queue.load(opened, options.queue or join.queue_for(opened, options.study))
    if wanted is None and "study" not in queue.facts:
        raise UserError(f"{queue.name} is a search, which needs its run folder: start make search where that is")
    study, metric = options.study or queue.facts["study"], options.metric or queue.facts.get("metric", "")
    helping, rest = wanted is None, (wanted, options.data, options.patience)
    worker = Worker(queue, options.runs, plan.inside(study), metric, execute, helping, *rest)
    try:
        if helping:
            join.help_out(worker)
        while (taken := worker.take()) is not None:
            worker.run(*taken)
    except Exception as error:
        if not storage.lost(error):
            raise
        raise UserError(f"--storage {where}: does not answer any more ({storage.reason(error)})") from error
    finally:
        records.leave_all()
    return 0


if __name__ == "__main__":
    sys.exit(command(main)())
