"""The loop of a search: open rounds while the budget lasts, keep workers at work, write search.json, say the news."""

import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from ablations import records
from core.errors import UserError, masked
from sweeps.running import display
from sweeps.running.conduct import RECONCILE_SECONDS, STOP_SECONDS
from sweeps.running.leases import Leases, home
from sweeps.running.plan import Job
from sweeps.running.pool import Pool
from sweeps.running.progress import view
from sweeps.running.reconcile import reconcile
from sweeps.running.storage import ENVIRONMENT, lost, patiently
from sweeps.running.trials import Queue
from sweeps.tuning import search_record
from sweeps.tuning.ledger import OVER, TRAINING, best, part
from sweeps.tuning.points import text
from sweeps.tuning.rounds import Chances, Search, advance, complete, opened

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
"""How long a storage may not answer before the search ends; what runs goes on meanwhile."""
WORKER = (sys.executable, "-m", "sweeps.tuning.trial_worker")
Say = Callable[[str], None]


def say(line: str) -> None:
    """One line for people, with the time."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


@dataclass
class Clock:
    """Wall-clock seconds a search has been at work, those before a restart included."""

    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.before + time.monotonic() - self.started


@dataclass(frozen=True)
class Seeker:
    """A search at work."""

    search: Search
    queue: Queue
    clock: Clock
    again: Chances
    said: set[tuple[str, int]]
    leases: Leases
    say: Say = say

    def look(self, align: bool) -> list[Job]:
        """Settle, open and begin what is due; the runs to be done now. One process at a time does this."""
        with records.exclusive(self.search.folder / "search.lock"):
            rounds = opened(self.search)
            jobs = advance(self.search, rounds, self.again)
            while self.room(jobs) and affordable(self.search, rounds, self.clock.spent):
                rounds += 1
                jobs = advance(self.search, rounds, self.again)
            if self.announce():
                search_record.write(self.search, self.clock.spent)
                search_record.tidy(self.search)
                align = True
            if align:
                self.align(jobs)
            return jobs

    def room(self, jobs: Sequence[Job]) -> bool:
        """Whether another round would give an idle worker something to do: some arm is through with those so far."""
        arms = {job.arm for job in jobs}
        return len(jobs) < self.search.workers and len(arms) < len(self.search.arms)

    def align(self, jobs: Sequence[Job]) -> None:
        """Bring the queue that workers take runs from into line with what is to be done."""
        with records.exclusive(self.search.folder / "sweep.lock"):
            reconcile(self.queue, jobs, self.search.runs, self.search.score_name, self.again, self.leases)

    def announce(self) -> bool:
        """Say what is over since the last time; whether anything is."""
        fresh = False
        for arm in self.search.arms:
            trials = self.search.ledgers[arm.name].trials()
            for trial in (t for t in trials if t.state in OVER and (arm.name, t.number) not in self.said):
                self.said.add((arm.name, trial.number))
                self.say(f"{arm.name}: {_told(self.search, trial)}{_standing(trial, best(trials))}")
                fresh = True
        return fresh


def _told(search: Search, trial: Any) -> str:
    facts = trial.user_attrs
    value = "no score" if facts["value"] is None else f"{search.score_name} {facts['value']:.2f}"
    state = {TrialState.COMPLETE: "", TrialState.PRUNED: ", pruned", TrialState.FAIL: ", failed"}[trial.state]
    reason = f" ({facts['reason']})" if "reason" in facts else ""
    space, trained = search.space, facts["part"] == TRAINING
    names = (space.training if trained else space.decoding).dimensions
    what = f"{'training' if trained else 'decoding'} at {text({name: trial.params[name] for name in names})}"
    return f"round {facts['round'] + 1}, {what}: {value}{state}{reason}"


def _standing(trial: Any, leader: Any) -> str:
    if leader is None:
        return ""
    return ", the best so far" if leader.number == trial.number else f" (best {leader.values[0]:.2f})"


# The budget


def affordable(search: Search, rounds: int, spent: float) -> bool:
    """Whether one more round fits the budget, for all arms; the first one always is run.

    The time it will take is estimated from the trials so far, each arm's by its own.
    """
    if rounds == 0:
        return True
    if search.trials is not None and rounds >= search.trials:
        return False
    if search.budget is None:
        return search.trials is not None
    return spent + ahead(search, rounds) <= search.budget


def ahead(search: Search, rounds: int) -> float:
    """Seconds until the open rounds and one more will be over, by what the trials so far took."""
    each: dict[str, float] = {}
    through: dict[str, int] = {}
    for arm, ledger in search.ledgers.items():
        over = ledger.trials(*OVER)
        through[arm] = len(part(over, TRAINING))
        if through[arm]:
            each[arm] = sum(trial.user_attrs["seconds"] for trial in over) / through[arm]
    if not each:
        return float("inf")
    usual = sum(each.values()) / len(each)
    work = [(rounds + 1 - through[arm]) * each.get(arm, usual) for arm in search.ledgers]
    abreast = len(search.seeds) if search.pruner == "none" else 1
    return max(sum(work) / search.workers, max(work) / min(abreast, search.workers))


# At work


def begin(search: Search, tell: Say = say) -> Seeker:
    """Make the Optuna studies, or go on with those that are there."""
    with records.exclusive(search.folder / "search.lock"):
        for ledger in search.ledgers.values():
            ledger.study  # noqa: B018 (made when first asked for)
        search_record.restore(search)
        queue = Queue.create(search.optuna, search.queue, [arm.name for arm in search.arms])
        _settle_in(search, queue)
        known = search_record.read(search) or {}
        said = {(arm, t.number) for arm, ledger in search.ledgers.items() for t in ledger.trials(*OVER)}
    if said:
        tell(f"going on with a search of {complete(search)} rounds")
    return Seeker(search, queue, Clock(known.get("spent_s") or 0.0), Chances(), said, Leases(queue.lease), tell)


def _settle_in(search: Search, queue: Queue) -> None:
    """Note in the storage whose folder has the runs. Raises UserError if it is another: each would make all of them."""
    ours = home(search.folder).rpartition("/")[2]
    held = queue.storage.get_study_user_attrs(queue.study_id).get("folder")
    if held is None:
        place = f"{socket.gethostname()}:{search.folder.resolve()}"
        queue.storage.set_study_user_attr(queue.study_id, "folder", {"id": ours, "place": place})
    elif held["id"] != ours:
        said = f"holds this search as it is made in {held['place']}; go on there, or give another storage"
        raise UserError(f"--storage {masked(search.storage)}: {said}")


def _work(seeker: Seeker, pool: Pool, poll: float) -> None:
    """Until no run is left to do and no round fits the budget any more."""
    due, before, heard, spoke = 0.0, set[str](), len(seeker.said), time.monotonic()
    while True:
        align = time.monotonic() > due
        jobs = patiently(lambda at=align: seeker.look(at), PATIENCE_SECONDS)  # type: ignore[misc]
        if not jobs:
            return
        if align:
            due = time.monotonic() + RECONCILE_SECONDS
        keys, busy = {job.key for job in jobs}, running(seeker.search, jobs)
        if pool.tend(len(jobs) - len(busy), busy) or keys != before:
            due = 0.0  # a worker ended, or there is something new to do
        before = keys
        if len(seeker.said) > heard or time.monotonic() - spoke > display.REMINDER_SECONDS:
            if len(seeker.said) == heard:
                seeker.say(at_work(seeker.search, jobs, seeker.clock.spent))
            heard, spoke = len(seeker.said), time.monotonic()
        time.sleep(poll)


def at_work(search: Search, jobs: Sequence[Job], spent: float) -> str:
    """One line on what runs now and how much of the budget is spent."""
    views = [view(job, job.folder(search.runs), search.score_name) for job in jobs]
    runs = [f"{display.name(v)} {display.progress(v)}" for v in views if v.state == "running"]
    limit = "" if search.budget is None else f" of {display.duration(search.budget)}"
    return f"running   {', '.join(runs) or 'nothing yet'}; round {opened(search)}, {display.duration(spent)}{limit}"


def running(search: Search, jobs: Sequence[Job]) -> dict[int, str]:
    """pid -> run of those that a worker holds."""
    found: dict[int, str] = {}
    for job in jobs:
        folder = job.folder(search.runs)
        record = records.read(folder) if (folder / "run.json").exists() else {}
        if record.get("state") == "running" and record["lease"]:
            found[record["lease"]["pid"]] = job.key
    return found


def seek(search: Search, worker: Sequence[str] = WORKER, poll: float = POLL_SECONDS, tell: Say = say) -> dict[str, Any]:
    """Search until the budget is spent; returns the content of search.json.

    Raises KeyboardInterrupt (Ctrl-C) and SystemExit (SIGTERM) after the workers have been ended, and UserError where a
    run is refused or the storage is lost.
    """
    search.folder.mkdir(parents=True, exist_ok=True)
    seeker = begin(search, tell)
    where = ["--queue", search.queue, "--study", search.title]  # the storage by the environment: it may hold a password
    line = [*worker, *where, "--runs", str(search.runs), "--metric", search.score_name, "--wanted", "-"]
    pool = Pool(line, search.workers, [], search.folder / "workers.log", search.devices, {ENVIRONMENT: search.storage})
    try:
        _work(seeker, pool, poll)
    except (KeyboardInterrupt, SystemExit):
        print("ending the workers, which takes some seconds", file=sys.stderr, flush=True)
        pool.stop(STOP_SECONDS)
        _close(seeker, finished=False)
        rounds = f"{complete(search)} of {opened(search)} rounds are complete"
        print(f"{rounds}; the same command goes on from the last checkpoints", file=sys.stderr)
        raise
    except Exception as error:
        if not lost(error):
            raise
        message = (
            f"--storage {masked(search.storage)}: does not answer any more; start the same command again when it does"
        )
        raise UserError(message) from error
    finally:
        pool.stop(STOP_SECONDS)
    return _close(seeker, finished=True)


def _close(seeker: Seeker, finished: bool) -> dict[str, Any]:
    """The last search.json of this search."""
    with records.exclusive(seeker.search.folder / "search.lock"):
        return search_record.write(seeker.search, seeker.clock.spent, finished)
