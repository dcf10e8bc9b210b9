"""The loop of a search: open rounds while the budget lasts, keep workers at work, write search.json, say the news."""

import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from ablations import records
from core.errors import UserError, masked_word
from sweeps.extras import need
from sweeps.running import display
from sweeps.running.conduct import RECONCILE_SECONDS, STOP_SECONDS, end_workers
from sweeps.running.leases import Leases, site
from sweeps.running.plan import Job
from sweeps.running.pool import Pool, worker_command
from sweeps.running.progress import View, view
from sweeps.running.reconcile import Attempts, reconcile
from sweeps.running.storage import ENVIRONMENT, lost, patiently
from sweeps.running.trials import Queue
from sweeps.tuning import search_record
from sweeps.tuning.arm_trials import OVER, TRAINING, best
from sweeps.tuning.budget import affordable
from sweeps.tuning.display import SearchScreen, SearchStanding
from sweeps.tuning.points import text
from sweeps.tuning.rounds import Search, advance, complete, opened

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
"""How long a storage may not answer before the search ends; what runs goes on meanwhile."""
WORKER = (sys.executable, "-m", "sweeps.worker")
Say = Callable[[str], None]


@dataclass(frozen=True)
class SearchLoop:
    """A search at work. started: when it would have begun, on the monotonic clock, had it never been interrupted."""

    search: Search
    queue: Queue
    started: float
    attempts: Attempts
    said: set[tuple[str, int]]
    leases: Leases
    say: Say = display.say
    best: dict[str, tuple[str, float, int]] = field(default_factory=dict)
    """(label, best score, trials that are over) of each arm that has some."""

    @property
    def spent(self) -> float:
        """Wall-clock seconds at work, those before a restart included."""
        return time.monotonic() - self.started

    def advance(self, align: bool) -> list[Job]:
        """End, open and begin what is due; the runs to be done now. One process at a time does this."""
        with records.exclusive(self.search.folder / "search.lock"):
            rounds = opened(self.search)
            jobs = advance(self.search, rounds, self.attempts.again)
            while self.room(jobs) and affordable(self.search, rounds, self.spent):
                rounds += 1
                jobs = advance(self.search, rounds, self.attempts.again)
            if self.announce():
                search_record.write(self.search, self.spent)
                search_record.tidy(self.search)
                align = True
            if align:
                self.synchronize(jobs)
            return jobs

    def room(self, jobs: Sequence[Job]) -> bool:
        """Whether another round would give an idle worker something to do: some arm is through with those so far."""
        arms = {job.arm for job in jobs}
        return len(jobs) < self.search.workers and len(arms) < len(self.search.arms)

    def synchronize(self, jobs: Sequence[Job]) -> None:
        """Bring the queue that workers take runs from into line with what is to be done."""
        with records.exclusive(self.search.folder / "sweep.lock"):
            reconcile(self.queue, jobs, self.search.runs, self.search.score_name, self.attempts.again, self.leases)

    def announce(self) -> bool:
        """Say what is over since the last time; whether anything is."""
        fresh = False
        for arm in self.search.arms:
            trials = self.search.arm_trials[arm.name].read()
            if leader := best(trials):
                over = sum(trial.state in OVER for trial in trials)
                self.best[arm.name] = (arm.label, leader.values[0], over)
            for trial in (t for t in trials if t.state in OVER and (arm.name, t.number) not in self.said):
                self.said.add((arm.name, trial.number))
                self.say(_told(self.search, arm.name, trial, best(trials)))
                fresh = True
        return fresh


def _told(search: Search, arm: str, trial: Any, leader: Any) -> str:
    facts = trial.user_attrs
    value = "no score" if facts["value"] is None else f"{search.score_name} {facts['value']:.2f}"
    state = {TrialState.COMPLETE: "", TrialState.PRUNED: ", pruned", TrialState.FAIL: ", failed"}[trial.state]
    reason = f" ({facts['reason']})" if "reason" in facts else ""
    space, trained = search.spaces[arm], facts["part"] == TRAINING
    names = (space.training if trained else space.decoding).dimensions
    what = f"{'training' if trained else 'decoding'} at {text({name: trial.params[name] for name in names})}"
    standing = ", the best so far" if leader and leader.number == trial.number else ""
    if leader and not standing:
        standing = f" (best {leader.values[0]:.2f})"
    return f"{arm}: round {facts['round'] + 1}, {what}: {value}{state}{reason}{standing}"


def begin(search: Search, tell: Say = display.say) -> SearchLoop:
    """Make the Optuna studies, or go on with those that are there."""
    with records.exclusive(search.folder / "search.lock"):
        for trials in search.arm_trials.values():
            trials.study  # noqa: B018 (made when first asked for)
        search_record.restore(search)
        queue = Queue.create(search.optuna, search.queue, [arm.name for arm in search.arms])
        _claim_storage(search, queue)
        known = search_record.read(search) or {}
        said = {(arm, t.number) for arm, trials in search.arm_trials.items() for t in trials.read(*OVER)}
    if said:
        tell(f"going on with a search of {complete(search)} rounds")
    started = time.monotonic() - (known.get("spent_s") or 0.0)
    return SearchLoop(search, queue, started, Attempts(), said, Leases(queue.lease), tell)


def _claim_storage(search: Search, queue: Queue) -> None:
    """Note in the storage whose folder has the runs. Raises UserError if it is another: each would make all of them."""
    ours = site(search.folder).rpartition("/")[2]
    held = queue.store.attributes.get("folder")
    if held is None:
        place = f"{socket.gethostname()}:{search.folder.resolve()}"
        queue.store.set_attribute("folder", {"id": ours, "place": place})
    elif held["id"] != ours:
        said = f"holds this search as it is made in {held['place']}; go on there, or give another storage"
        raise UserError(f"--storage {masked_word(search.storage)}: {said}")


def _work(loop: SearchLoop, pool: Pool, poll: float, screen: SearchScreen) -> None:
    """Until no run is left to do and no round fits the budget any more."""
    due, before, heard, spoke = 0.0, set[str](), len(loop.said), time.monotonic()
    while True:
        align = time.monotonic() > due
        jobs = patiently(lambda at=align: loop.advance(at), PATIENCE_SECONDS)  # type: ignore[misc]
        if not jobs:
            return
        if align:
            due = time.monotonic() + RECONCILE_SECONDS
        views = [view(job, job.folder(loop.search.runs), loop.search.score_name) for job in jobs]
        keys, busy = {job.key for job in jobs}, {v.pid: v.job.key for v in views if v.pid is not None}
        if pool.maintain(len(jobs) - len(busy), busy) or keys != before:
            due = 0.0  # a worker ended, or there is something new to do
        before = keys
        if screen.shown:
            screen.show(standing(loop, views))
        if len(loop.said) > heard or time.monotonic() - spoke > display.REMINDER_SECONDS:
            if len(loop.said) == heard and not screen.shown:
                loop.say(at_work(loop, views))
            heard, spoke = len(loop.said), time.monotonic()
        time.sleep(poll)


def standing(loop: SearchLoop, views: Sequence[View]) -> SearchStanding:
    """How far the search is."""
    return SearchStanding(opened(loop.search), loop.spent, loop.search.budget, views, tuple(loop.best.values()))


def at_work(loop: SearchLoop, views: Sequence[View]) -> str:
    """One line on what runs now and how much of the budget is spent."""
    runs = [f"{display.name(v)} {display.progress(v)}" for v in views if v.state == "running"]
    return f"running   {', '.join(runs) or 'nothing yet'}; {standing(loop, views).summary()}"


def run_search(
    search: Search, worker: Sequence[str] = WORKER, poll: float = POLL_SECONDS, tell: Say = display.say
) -> dict[str, Any]:
    """Search until the budget is spent; returns the content of search.json.

    Raises KeyboardInterrupt (Ctrl-C) and SystemExit (SIGTERM) after the workers have been ended, and UserError where a
    run is refused or the storage is lost.
    """
    need("sklearn", "scikit-learn", "importance by fANOVA")  # said now, not after hours
    search.folder.mkdir(parents=True, exist_ok=True)
    loop = begin(search, tell)
    line = worker_command(worker, search.queue, search.folder, search.score_name)
    pool = Pool(line, search.workers, [], search.folder / "workers.log", search.devices, {ENVIRONMENT: search.storage})
    try:
        with SearchScreen(search.score_name) as screen:
            _work(loop, pool, poll, screen)
    except (KeyboardInterrupt, SystemExit):
        end_workers(pool)
        _write(loop, finished=False)
        rounds = f"{complete(search)} of {opened(search)} rounds are complete"
        print(f"{rounds}; the same command goes on from the last checkpoints", file=sys.stderr)
        raise
    except Exception as error:
        if not lost(error):
            raise
        way = "start the same command again when it does"
        raise UserError(f"--storage {masked_word(search.storage)}: does not answer any more; {way}") from error
    finally:
        pool.stop(STOP_SECONDS)
    return _write(loop, finished=True)


def _write(loop: SearchLoop, finished: bool) -> dict[str, Any]:
    """The last search.json of this search."""
    with records.exclusive(loop.search.folder / "search.lock"):
        return search_record.write(loop.search, loop.spent, finished)
