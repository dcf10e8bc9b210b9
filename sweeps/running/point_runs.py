"""From a point of a sweep to a run: the study's factors with their levels, the seed, and options unlike the preset's.

The same for a point of a sweep file (`runs_of`) and for the command line that W&B's agent makes of it (sweeps/arm.py),
so that every engine runs the same arms into the same folders.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ablations import records, studies
from ablations.factors import FACTORS, Factor, Level, options_of
from ablations.studies import Arm, Study
from core.config import RunConfig, all_options
from core.errors import UserError
from core.options import nearest
from core.run_folder import RUN
from sweeps.running import plan
from sweeps.running.plan import Job
from sweeps.running.recipe import Recipe
from sweeps.running.trials import LARGEST_SEED
from sweeps.wb.sweep_file import SweepFile
from sweeps.wb.sweep_points import points
from sweeps.wb.tracking import Identity, own_id

SETTINGS = ("study", "preset", "data", "src", "tgt", "runs", "folder")
"""What a point may say besides factors, options and the seed."""


@dataclass(frozen=True)
class PointRun:
    """The run of a point, and the folder of all runs."""

    recipe: Recipe
    job: Job
    runs: Path


def run_of(values: Mapping[str, Any], runs: Path = Path("runs")) -> PointRun:
    """The run that a point asks for. Where a factor of the study and an option share a name, it is the factor.

    Raises UserError for a name that is neither, for a missing or wrong level, and for options that the study varies.
    """
    values = {name.replace("-", "_"): value for name, value in values.items()}
    known = {name: values[name] for name in SETTINGS if values.get(name) is not None}
    study = studies.get(str(known.pop("study", "modules")))
    folder = str(known.pop("folder")) if "folder" in known else None
    runs = Path(str(known.pop("runs", runs)))
    arm = _arm(study, values)
    rest = {k: v for k, v in values.items() if k not in SETTINGS and k not in study.factors and k != "seed"}
    texts = {name: str(value) for name, value in known.items()}
    if folder is not None and (plan.safe(folder) != folder or folder in (".", "..")):
        raise UserError(f"--folder {folder}: names a folder in {runs}; use letters, digits and . _ = + -")
    recipe = Recipe.of(study, overrides=_overrides(study, rest), folder=folder, **texts)
    return PointRun(recipe, recipe.job(recipe.study.as_run(arm), _seed(values)), runs)


def _arm(study: Study, values: Mapping[str, Any]) -> Arm:
    missing = [name for name in study.factors if name not in values]
    if missing:
        levels = ", ".join(str(level) for level in FACTORS[missing[0]].levels)
        raise UserError(f"--{missing[0]} is missing: study {study.name} varies it; its levels are {levels}")
    return studies.arm({name: level(FACTORS[name], values[name]) for name in study.factors})


def level(factor: Factor, value: Any) -> Level:
    """The level of a factor that a value means: 4 is 4.0, but 1 is not True; nothing is 'none'.

    Raises UserError naming the nearest.
    """
    value = "none" if value is None and "none" in factor.levels else value
    for known in factor.levels:
        if known == value and isinstance(known, bool) == isinstance(value, bool):
            return known
    close = nearest(str(value), [str(known) for known in factor.levels])
    raise UserError(f"--{factor.name}: {value!r} is no level of this factor.{close}")


def _overrides(study: Study, values: Mapping[str, Any]) -> dict[str, Any]:
    """Options, and levels of factors that the study leaves alone, as options."""
    options, found = all_options(RunConfig()), dict[str, Any]()
    del options["method"]  # a factor, whose levels are the methods
    for name, value in values.items():
        if name in options:
            found[name] = value
        elif name in FACTORS:
            found |= options_of({name: level(FACTORS[name], value)})
        else:
            raise UserError(f"--{name}: no such option.{nearest(name, [*options, *FACTORS, *SETTINGS])}")
    varied = {option for arm in study.arms for option in arm.values}
    for name in varied & found.keys():
        raise UserError(f"--{name}: study {study.name} varies it itself, by {', '.join(study.factors)}")
    return found


def _seed(values: Mapping[str, Any]) -> int:
    seed = values.get("seed", 1)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 1 <= seed <= LARGEST_SEED:
        raise UserError(f"--seed: must be a whole number from 1 to {LARGEST_SEED}; it is {seed!r}")
    return seed


def run_at(file: SweepFile, point: Mapping[str, Any], runs: Path = Path("runs")) -> PointRun:
    """The run of a point. Raises UserError with the line of the parameter that is wrong."""
    try:
        return run_of(point, runs)
    except UserError as error:
        named = re.match(r"(?:--|option )(\w+)", str(error))
        raise file.error(("parameters", named[1]) if named else ("parameters",), str(error)) from error


def runs_of(file: SweepFile, runs: Path, count: int | None = None) -> list[PointRun]:
    """The runs of a sweep file (of its first `count` points), each once, all in one study's folder.

    Raises UserError if a point is no arm, or the points belong to several folders.
    """
    found: dict[str, PointRun] = {}
    for point in points(file, count):
        made = run_at(file, point, runs)
        found.setdefault(made.job.key, made)
    folders = {str(made.runs / made.job.study) for made in found.values()}
    if len(folders) > 1:
        some = ", ".join(sorted(folders)[:2])
        said = f"the points belong to {len(folders)} studies ({some}, ...)"
        raise file.error(("parameters",), f"{said}; to have them in one, add a parameter `folder: {{value: NAME}}`")
    return list(found.values())


def in_sweep(job: Job, sweep_id: str) -> Job:
    """The job with its sweep in the record of its run, where the tracker finds it on any host."""
    record = {"study": job.study, "arm": job.arm, "hash": job.hash8}
    wandb = asdict(Identity(own_id(record), job.study, sweep_id))
    return replace(job, extra={**job.extra, "wandb": wandb})


def enter_sweep(job: Job, runs: Path) -> bool:
    """The same for a run that is there already, unless it has a sweep or is being run; True if it is finished."""
    folder = job.folder(runs)
    if not (folder / RUN).exists():
        return False
    with records.reserved(folder) as free:
        if not free or records.read(folder).get("wandb"):
            return False
        return bool(records.update(folder, wandb=job.extra["wandb"])["state"] == "finished")
