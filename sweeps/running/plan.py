"""What a sweep has to run: every arm of a study with every seed, each with its run folder."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from ablations import records
from ablations.studies import Arm, Study
from core.checks import check
from core.config import DataConfig, RunConfig, all_options, digest, flat, with_values
from core.errors import UserError
from core.options import as_before, nearest, parse_value, values_of
from core.reading.typed import is_name, misfit
from core.run_folder import RUN, path_of
from core.sections import TrainingConfig
from core.sizes import check_memory
from sweeps.wb.sweep_points import LARGEST


@dataclass(frozen=True)
class Job:
    """One arm with one seed; all that a worker anywhere needs to run it, and plain enough for JSON.

    extra: more fields of its run.json, such as what tuning was spent on it.
    """

    study: str
    arm: str
    label: str
    seed: int
    hash8: str
    config: dict[str, Any]
    toggles: dict[str, Any]
    values: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name within the study: the name of its run folder."""
        return f"{self.arm}-s{self.seed}-{self.hash8}"

    def folder(self, runs: Path) -> Path:
        """Its run folder under the folder of all runs."""
        return path_of(runs, self.study, self.arm, self.seed, self.hash8)

    def with_text(self, data: str | None) -> "Job":
        """The job with the place of its text on this host (None: the same), which is no part of its identity."""
        return replace(self, config={**self.config, "data": data}) if data and self.config.get("data") else self

    def create(self, runs: Path) -> Path:
        """Make its run folder (pending), or leave the one that is there."""
        folder = self.folder(runs)
        if (folder / RUN).exists():
            return folder
        fields = asdict(self)
        del fields["values"]
        records.create(folder, **(fields | fields.pop("extra")))
        return folder


def job_from(attributes: Mapping[str, Any]) -> Job:
    """The job in the user attributes of an Optuna trial.

    Raises UserError for one of another version, or whose folder would lie elsewhere: storages are written by others.
    """
    found, kinds = attributes["job"], get_type_hints(Job)
    wrong = misfit(found, dict[str, Any], "job")
    wrong = wrong or next(filter(None, (misfit(found[n], kinds[n], n) for n in found.keys() & kinds.keys())), "")
    try:
        job = Job(**({} if wrong else found))
    except TypeError as error:
        said = f"the storage holds what is not a run of this version ({wrong or error})"
        raise UserError(f"{said}; use its code, or another storage: the runs are safe in their folders") from error
    checked_name(job.study)
    checked_name(job.key)
    return job


def checked_name(name: str) -> str:
    """The name of a study or run, as a storage gives it. Raises UserError for a path, which may lead anywhere."""
    if not isinstance(name, str) or not is_name(name):
        raise UserError(f"{name!r} names no folder, and stands in the storage for a study or a run: it is not trusted")
    return name


def title(study: str, preset: str, config: RunConfig, usual: str, overrides: Mapping[str, Any]) -> str:
    """The name of the study's folder: what differs from the plain study is part of it, so results never mix.

    `<study>[-<name of the data folder>[-<src>-<tgt>, if not the usual ones]][-<preset, if not the usual one>]
    [-<option>=<value>...]`. What is as it was before its option was added, and no longer by default, is no part of it:
    runs of then stay where they are.
    """
    text = config.data
    parts = [study]
    if text.data:
        other = (text.src, text.tgt) != (DataConfig.src, DataConfig.tgt)
        parts += [Path(text.data).resolve().name] + [f"{text.src}-{text.tgt}"] * other
    parts += [preset] if preset != usual else []
    was = {name: value for name, value in as_before(config).items() if all_options(RunConfig()).get(name) != value}
    parts += [f"{name}={value}" for name, value in sorted(overrides.items()) if name not in was or was[name] != value]
    return safe("-".join(parts))


def safe(name: str) -> str:
    """The name with nothing in it that a folder's name should not have."""
    return "".join(c if c.isalnum() or c in "_.=+-" else "_" for c in name)


def parse(assignment: str) -> tuple[str, Any]:
    """'updates=300' -> ('updates', 300). Raises UserError if there is no '='."""
    name, sign, text = assignment.partition("=")
    if not sign:
        raise UserError(f"--set {assignment}: expected name=value, e.g. --set updates=300")
    return name.strip(), parse_value(text)


def overrides_for(study: Study, assignments: Sequence[str]) -> dict[str, Any]:
    """The options given by --set. Raises UserError for the seed and for what the study itself varies."""
    values = dict(parse(assignment) for assignment in assignments)
    varied = {name for arm in study.arms for name in arm.values}
    for name in values:
        if name == "seed":
            raise UserError("--set seed: a sweep runs each arm with seeds 1..N; use --seeds N")
        if name in ("data", "src", "tgt"):
            raise UserError(f"--set {name}: use --{name}, so that the study's folder is named after the text")
        if name in varied:
            raise UserError(f"--set {name}: study {study.name} varies it itself; choose arms with --only")
    return values


def jobs_for(
    study: Study,
    folder: str,
    config: RunConfig,
    seeds: int,
    identify: Callable[[RunConfig], str],
    only: Collection[str] = (),
) -> list[Job]:
    """All arms x seeds 1..N, seed by seed, so that what is there at any moment compares all arms.

    Where arms share a training (study `steps`), the first of each comes before the others, which then need not wait for
    it. `identify` gives the hash8 of a configuration (it knows the corpus). only: the arms that are to run; none = all.
    Raises UserError for more runs than can be looked at, and for one of these arms that no run can have.
    """
    if (count := seeds * len(study.arms)) > LARGEST:
        raise UserError(f"--seeds {seeds}: these are {count:,} runs, and at most {LARGEST:,} can be run")
    for arm in study.arms:
        if not only or arm.name in only:
            config_of(arm, config)
    jobs = []
    for seed, arm in itertools.product(range(1, seeds + 1), study.arms):
        ours = with_values(config, {**arm.values, "seed": seed})
        jobs.append(job_for(arm, folder, ours, identify(ours)))
    return first_trainings_first(jobs)


def options_for(arm: Arm, config: RunConfig, **more: Any) -> RunConfig:
    """The options of a run of an arm. Raises UserError if no run can have them."""
    try:
        found = with_values(config, {**arm.values, **more})
        check(found)
    except UserError as error:
        raise UserError(f"{error} (arm {arm.name})") from error
    return found


def config_of(arm: Arm, config: RunConfig, **more: Any) -> RunConfig:
    """The same for a run on this machine. Raises UserError, too, if it lacks the memory."""
    found = options_for(arm, config, **more)
    try:
        check_memory(found)
    except UserError as error:
        raise UserError(f"{error} (arm {arm.name})") from error
    return found


def job_for(arm: Arm, folder: str, config: RunConfig, hash8: str) -> Job:
    """The run of an arm with its own configuration, in a study's folder."""
    return Job(folder, arm.name, arm.label, config.seed, hash8, flat(config), dict(arm.toggles), dict(arm.values))


def first_trainings_first(jobs: Sequence[Job]) -> list[Job]:
    """The first run of each training before the others that share it."""
    first = set({records.training_identity(job.config, ""): job.key for job in reversed(jobs)}.values())
    return sorted(jobs, key=lambda job: job.key not in first)


def comparable(jobs: Sequence[Job]) -> bool:
    """Whether runs differ in nothing but their arm and seed. Arms of several methods have options of their own, and at
    their own defaults: text and training must be the same."""
    varied = {"seed"} | {name for job in jobs for name in job.values}
    by_method: dict[str, set[str]] = {}
    for job in jobs:
        own = {name: value for name, value in job.config.items() if name not in varied}
        by_method.setdefault(job.config.get("method", ""), set()).add(digest(own))
    common = {*values_of(DataConfig(), all_of_them=True), *values_of(TrainingConfig(), all_of_them=True)} - varied
    shared = {digest({name: job.config[name] for name in common & job.config.keys()}) for job in jobs}
    return len(shared) <= 1 and all(len(each) == 1 for each in by_method.values())


def select(jobs: Sequence[Job], only: Sequence[str]) -> list[Job]:
    """The jobs of some arms. Raises UserError naming the nearest arm for one that is not in the study."""
    wanted = chosen((job.arm for job in jobs), only)
    return [job for job in jobs if job.arm in wanted]


def chosen(arms: Iterable[str], only: Sequence[str]) -> list[str]:
    """The arms that --only names, or all. Raises UserError naming the nearest for one that is not in the study."""
    known = list(dict.fromkeys(arms))
    for name in only:
        if name not in known:
            raise UserError(f"--only {name}: no such arm.{nearest(name, known)}")
    return [name for name in known if not only or name in only]


def described(arm: Arm) -> dict[str, Any]:
    """An arm for study.json and search.json."""
    return {"name": arm.name, "label": arm.label, "toggles": arm.toggles, "values": arm.values}


def describe(
    study: Study, jobs: Sequence[Job], preset: str, command: str, banner: str | None, queue: str
) -> dict[str, Any]:
    """The content of study.json: what analysis needs to know, and which run folders belong to it."""
    return {
        "study": jobs[0].study,
        "question": study.question,
        "metric": study.metric,
        "seeds": sorted({job.seed for job in jobs}),
        "arms": [described(arm) for arm in study.arms],
        "factors": {name: list(levels) for name, levels in study.factors.items()},
        "varies": study.varies,
        "control": study.control,
        "claims": list(study.claims),
        "command": command,
        "preset": preset,
        "banner": banner,
        "runs": [job.key for job in jobs],
        "optuna_study": queue,
    }
