"""After a search: every arm with the study's seeds, at the default and at its own best, by the machinery of sweeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ablations.studies import Arm, Study
from core.config import flat
from core.run_folder import JOURNAL
from sweeps.running import plan
from sweeps.running.conduct import Sweep, conduct
from sweeps.running.report import show_result
from sweeps.running.trials import queue_name
from sweeps.tuning.rounds import Search
from sweeps.tuning.search_record import spaces


@dataclass(frozen=True)
class TunedStudy(Study):
    """A study whose arms have options of their own: what a search found best for each.

    searched: the arms at the default.
    """

    searched: tuple[Arm, ...] = ()
    best: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, best: Mapping[str, Mapping[str, Any]]) -> "TunedStudy":
        """The study with the options that were found best for its arms, by their names."""
        return cls(**{each.name: getattr(study, each.name) for each in fields(Study)}, searched=study.arms, best=best)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms that have a best point, with its options."""
        found = [arm for arm in self.searched if arm.name in self.best]
        return tuple(replace(arm, values={**arm.values, **self.best[arm.name]}) for arm in found)


def folder(title: str) -> str:
    """The folder of the arms at their own best."""
    return f"{title}-tuned"


def run_comparison(sweep: Sweep, search: Search, found: Mapping[str, Any]) -> int:
    """Run both comparisons, or what is missing of them; the number of runs that failed."""
    return sum(show_result(each, conduct(each)) for each in [sweep, *tuned_sweep(sweep, search, found)])


def tuned_sweep(sweep: Sweep, search: Search, found: Mapping[str, Any]) -> list[Sweep]:
    """The sweep of the arms at their own best: one, or none if no arm has a best point."""
    best = {arm: point["options"] for arm, point in found["best"].items() if point}
    if not best:
        return []
    tuned = TunedStudy.of(search.study, best)
    title = folder(sweep.jobs[0].study)
    seeds = max(job.seed for job in sweep.jobs)
    jobs = plan.jobs_for(tuned, title, search.config, seeds, search.identify)
    jobs = [replace(job, extra={"tuning": tuning(search, found, job.arm)}) for job in jobs]
    queue = queue_name(title, tuned.arms, flat(search.config))
    facts = plan.describe(tuned, jobs, str(sweep.facts["preset"]), "", sweep.facts["banner"], queue)
    facts |= {"command": search.facts["command"], "tuning": spent(search, found), "search": search.title}
    storage = search.storage if "://" in search.storage else str(search.runs / title / JOURNAL)
    arms = tuple(arm.name for arm in tuned.arms)
    workers = min(search.workers, len(jobs))
    return [replace(sweep, jobs=tuple(jobs), arms=arms, queue=queue, facts=facts, storage=storage, workers=workers)]


def tuning(search: Search, found: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """What was spent on an arm, for the record of each of its runs."""
    where = {"search": search.title, "trial": found["best"][arm]["number"], "metric": search.score_name}
    return {**found["spent"][arm], **where, "search_seeds": list(search.seeds)}


def spent(search: Search, found: Mapping[str, Any]) -> str:
    """The same for all arms, in a sentence."""
    names = ", ".join(spaces(search)["dimensions"])
    each = [found["spent"][arm.name] for arm in search.arms]
    decodings = " or ".join(map(str, sorted({one["decodings"] for one in each}, reverse=True)))
    budget = f"{each[0]['trials']} trials of {len(search.seeds)} seeds and {decodings} decodings per arm"
    return f"{names} tuned for each arm with the same budget: {budget} (TPE, {search.score_name}; {search.title})"
