"""Signs of life of the workers of a study, through the storage alone: no clock and no file system is shared.

A worker counts up a number in its trial while it runs. Who watches notes, by a clock of their own, when they last saw
the number change; a worker whose number stands still for the length of a lease is taken for dead. Time in which the
watcher could not look (the storage was away, the machine asleep) does not count against anybody.
"""

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from ablations.metrics_log import latest
from core.run_folder import METRICS, replacing
from sweeps.running.storage import lost

LEASE_SECONDS = 90.0
"""How long a worker elsewhere may be silent until its run is given to others."""
BEATS = 6
"""Signs of life in a lease."""
SHOWN = ("train/step", "train/seconds", "train/loss")
"""What of a run's metrics a sign of life tells, beside the scores of its last validation."""


def site(study: Path) -> str:
    """Names this host and a study's folder on it: workers of the same site share its files and locks."""
    path = study / ".home"
    if not path.exists():
        study.mkdir(parents=True, exist_ok=True)
        with replacing(path, once=True) as draft:
            draft.write_text(uuid.uuid4().hex[:12])
    return f"{socket.gethostname()}/{path.read_text()}"


@contextlib.contextmanager
def heartbeat(note: Callable[..., None], trial: FrozenTrial, folder: Path, lease: float) -> Iterator[None]:
    """Gives signs of life for a trial from a thread, as long as the `with` lasts.

    note(trial, beat=...) writes one. A storage that does not answer is asked again at the next beat; a trial that
    others have ended gets no more, and its run goes on.
    """
    over, pause = threading.Event(), lease / BEATS

    def keep() -> None:
        """Write a beat each pause, until the run is over."""
        count = 0
        while not over.wait(pause):
            count += 1
            row = latest(folder / METRICS)
            try:
                shown = {name: row[name] for name in row if name in SHOWN or name.startswith("val/")}
                note(trial, beat={"count": count} | shown)
            except UpdateFinishedTrialError:
                return
            except Exception as error:
                if not lost(error):
                    raise

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(pause)


class Leases:
    """What a watcher knows of the running trials of others. elsewhere: run -> its trial, of those that live."""

    def __init__(self, seconds: float = LEASE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self.looked = clock()
        self.seen: dict[int, tuple[Any, float]] = {}
        self.elsewhere: dict[str, FrozenTrial] = {}

    def look(self, trials: Iterable[FrozenTrial]) -> None:
        """Take note of the running trials as they stand now."""
        now = self.clock()
        if now - self.looked > self.seconds / 3:
            self.seen = {number: (count, now) for number, (count, _) in self.seen.items()}
        self.looked = now
        counts = {trial.number: (trial.user_attrs.get("beat") or {}).get("count") for trial in trials}
        known = {number: self.seen.get(number) for number in counts}
        self.seen = {n: (c, now) if (old := known[n]) is None or old[0] != c else old for n, c in counts.items()}

    def alive(self, trial: FrozenTrial) -> bool:
        """Whether a trial's worker has given a sign of life lately (or was not watched for long enough to tell)."""
        return trial.number in self.seen and self.clock() - self.seen[trial.number][1] <= self.seconds
