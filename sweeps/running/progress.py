"""How far a sweep is, read from its run folders: states, steps, scores, time left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from ablations import records
from ablations.metrics_log import latest, progress
from core.run_folder import METRICS, RUN, SCORES, read
from sweeps.running.plan import Job

AFTER_TRAINING = 1.2
"""A run's time over its training time, until one has finished and shows it: decoding and probes come after training."""


@dataclass(frozen=True)
class View:
    """A run as it stands.

    done: of its training (ablations.metrics_log.progress). score: the test score when finished, else the last
    validation score; seconds: time spent.
    """

    job: Job
    state: str
    attempts: int = 0
    reason: str | None = None
    refused: bool = False
    pid: int | None = None
    done: int = 0
    loss: float | None = None
    score: float | None = None
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """What `done` will be at the end."""
        return progress(self.job.config, {})[1]


def standing(job: Job, row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """How far a run's newest row of metrics says it is, as fields of a View."""
    return {"done": progress(job.config, row)[0], "loss": row.get("train/loss"), "score": row.get(f"val/{metric}")}


def seconds_since(start: str | None, end: str | None = None) -> float:
    """Seconds between two ISO times (the second: now)."""
    if start is None:
        return 0.0
    until = _time(end) if end else datetime.now(UTC)
    return max(0.0, (until - _time(start)).total_seconds())


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def view(job: Job, folder: Path, metric: str) -> View:
    """Look into a run folder (which need not be there yet)."""
    if not (folder / RUN).exists():
        return View(job, "pending")
    record = records.read(folder)
    state = record["state"]
    facts = {"attempts": record["attempts"], "reason": record["reason"], "refused": record["refused"]}
    if state == "finished":
        scores = read(folder / SCORES)
        spent = (record.get("cost") or {}).get("wall_s") or seconds_since(record["started"], record["finished"])
        return View(job, state, **facts, score=scores.get(metric), seconds=spent)
    facts |= standing(job, latest(folder / METRICS), metric)
    if state == "running":
        facts |= {"pid": (record["lease"] or {}).get("pid"), "seconds": seconds_since(record["started"])}
    return View(job, state, **facts)


def mean(values: Iterable[float]) -> float | None:
    """The mean, or None of nothing."""
    numbers = list(values)
    return fmean(numbers) if numbers else None


def durations(views: Sequence[View]) -> dict[str, float]:
    """Expected seconds of a run of each arm: as its finished runs took, else as all did, else as running ones go."""
    finished = [v for v in views if v.state == "finished" and v.seconds > 0]
    started = [v for v in views if v.state == "running" and v.done > 0]
    usual = mean(v.seconds for v in finished)
    usual = usual or mean(v.seconds * max(v.total / v.done, 1.0) * AFTER_TRAINING for v in started)
    known: dict[str, float] = {}
    for arm in {v.job.arm for v in views}:
        own = mean(v.seconds for v in finished if v.job.arm == arm) or usual
        if own is not None:
            known[arm] = own
    return known


def time_left(views: Sequence[View], workers: int) -> float | None:
    """Seconds until all runs are done; None while nothing shows how long one takes."""
    expected = durations(views)
    ahead = [v for v in views if v.state in ("pending", "running")]
    if not all(v.job.arm in expected for v in ahead):
        return None
    rest = [max(expected[v.job.arm] - v.seconds, 0.05 * expected[v.job.arm]) for v in ahead]
    return max(sum(rest) / workers, *rest) if rest else 0.0


def standings(views: Sequence[View]) -> list[tuple[str, float, int]]:
    """(label, mean score, number of seeds) of each arm with finished runs, best first."""
    scores: dict[str, list[float]] = {}
    for v in views:
        if v.state == "finished" and v.score is not None:
            scores.setdefault(v.job.label, []).append(v.score)
    rows = [(label, fmean(values), len(values)) for label, values in scores.items()]
    return sorted(rows, key=lambda row: -row[1])
