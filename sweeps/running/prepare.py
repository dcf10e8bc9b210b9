"""From the options of a sweep to the sweep: its recipe, its runs, their folder, their workers. Nothing is written."""

import math
import os
import time
from pathlib import Path

from ablations import studies
from ablations.presets import Preset
from ablations.studies import Study
from core.errors import UserError
from core.run_folder import JOURNAL
from sweeps.running import plan, pool, storage
from sweeps.running.conduct import Sweep
from sweeps.running.options import StudyOptions, SweepOptions, positive, typed, workers_for
from sweeps.running.plan import Job
from sweeps.running.point_runs import runs_of
from sweeps.running.possible import recipe_for
from sweeps.running.recipe import Recipe
from sweeps.wb import connection, sweep_file


def prepare(options: SweepOptions, program: str, count: int | None = None) -> tuple[Sweep, Preset]:
    """Everything a sweep needs to know; program: what was started, for the record; count: of a sweep file, its first
    points alone.

    Raises UserError for a wrong option or unusable text; writes nothing.
    """
    connection.begin()
    check_runs(options.runs)
    only = arms_of(options)
    if sweep_file.is_one(options.study):
        recipe, jobs, runs = runs_of_file(options, count)
    else:
        recipe, seeds = recipe_of(options)
        jobs, runs = recipe.jobs(seeds, only), options.runs
    wanted = plan.select(jobs, only)
    devices = pool.gpus()
    sweep = Sweep(
        jobs=tuple(wanted),
        arms=tuple(arm.name for arm in recipe.study.arms),
        runs=runs,
        storage=storage.resolve(options.storage) or str(runs / recipe.folder / JOURNAL),
        queue=recipe.queue,
        metric=recipe.study.metric,
        workers=min(workers_for(options, devices, recipe.config), len(wanted)),
        devices=tuple(devices),
        facts=recipe.facts(jobs, typed(program)),
        until=None if options.minutes is None else time.time() + 60 * positive_minutes(options.minutes),
    )
    return sweep, recipe.preset


def positive_minutes(minutes: float) -> float:
    """The minutes. Raises UserError if they are no time to run."""
    if not 0 < minutes < math.inf:
        raise UserError(f"--minutes {minutes:g}: is no time to run")
    return minutes


def check_runs(runs: Path) -> None:
    """Raises UserError on a folder of all runs that cannot be written to, or made."""
    if str(runs).startswith("~"):
        raise UserError(f"--runs {runs}: ~ is a name like any other here; name the folder in full")
    whole = runs.absolute()
    place = next(each for each in (whole, *whole.parents) if os.path.lexists(each))
    if not place.is_dir():
        raise UserError(f"--runs {runs}: {place} is no folder; name one to write to")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"--runs {runs}: {place} cannot be written to; name another folder")


def recipe_of(options: StudyOptions) -> tuple[Recipe, int]:
    """The recipe of a named study, and its number of seeds. Raises UserError for a wrong option."""
    study = studies.get(options.study)
    overrides = plan.overrides_for(study, options.overrides)

    def make(study: Study) -> Recipe:
        return Recipe.of(study, options.preset, options.data, options.src, options.tgt, overrides)

    only = arms_of(options) if isinstance(options, SweepOptions) else None
    recipe = recipe_for(study, overrides, make, only)
    usual = study.seeds or recipe.preset.seeds
    return recipe, positive("seeds", usual if options.seeds is None else options.seeds)


def arms_of(options: SweepOptions) -> list[str]:
    """The arms that --only names, at one time or at several."""
    return [arm for arms in options.only for arm in arms]


def runs_of_file(options: SweepOptions, count: int | None) -> tuple[Recipe, list[Job], Path]:
    """All runs of a sweep file, and the folder of all runs: the same as `sweeps.agent` and `wandb agent` make of it."""
    for name in ("preset", "data", "src", "tgt", "seeds", "overrides"):
        if getattr(options, name) != getattr(SweepOptions, name):
            given = "set" if name == "overrides" else name
            raise UserError(f"--{given}: the sweep file {options.study} says this; change its `parameters`")
    file = sweep_file.load(Path(options.study))
    found = runs_of(file, options.runs, count)
    jobs = [made.job for made in found]
    if file.method == "grid":  # seed by seed, as a named study goes
        jobs = plan.first_trainings_first(sorted(jobs, key=lambda job: job.seed))
    return found[0].recipe, jobs, found[0].runs
