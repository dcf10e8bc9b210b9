"""A study as a W&B sweep file: every arm with every seed, or arms with drawn nuisance parameters."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml

from ablations.ranges import Dimension, Levels, absolute, within, without
from core.config import all_options, digest, flat, with_values
from core.errors import UserError
from core.run_folder import replacing
from sweeps.running import plan
from sweeps.running.options import StudyOptions, positive
from sweeps.running.prepare import recipe_of
from sweeps.running.recipe import Recipe
from sweeps.wb import tracking

OUT = Path("sweeps/wandb")
COMMAND = ["${env}", "${interpreter}", "-m", "sweeps.arm", "${args}"]
MARK = "# digest "
POINTS_PER_ARM = 10


@dataclass(frozen=True)
class FileOptions(StudyOptions):
    """Write a study as a W&B sweep file, and register it where there is a server."""

    search: Literal["random", "bayes"] | None = None
    """Draw the nuisance parameters too: at random, or (with W&B's server alone) by its Bayesian optimization."""
    points: int | None = None
    """Number of points of a search; none = 10 for each arm."""
    out: Path = OUT
    """Folder for the sweep file."""
    register: bool = True
    """Register the sweep where there is a server and a key."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a sweep file that was edited."""


def describe(options: FileOptions) -> dict[str, Any]:
    """The content of the sweep file. Raises UserError for a wrong option or unusable text."""
    recipe, seeds = recipe_of(options)
    study, overrides = recipe.study, plan.overrides_for(recipe.study, options.overrides)
    fixed = {"study": study.name, "preset": recipe.preset.name}
    fixed |= {"data": options.data, "src": options.src, "tgt": options.tgt} if options.data else {}
    fixed |= {"runs": str(options.runs)} if options.runs != FileOptions.runs else {}
    parameters: dict[str, Any] = {name: {"value": value} for name, value in {**fixed, **overrides}.items()}
    parameters |= {name: {"values": list(levels)} for name, levels in study.factors.items()}
    parameters["seed"] = {"values": list(range(1, seeds + 1))}
    content: dict[str, Any] = {
        "name": recipe.folder,
        "description": study.question,
        "project": os.environ.get("WANDB_PROJECT", tracking.PROJECT),
        "program": "sweeps/arm.py",
        "method": options.search or "grid",
        "metric": {"name": f"test/{study.metric}", "goal": "maximize"},
    }
    if options.search:
        folder = f"{recipe.folder}-{options.search}"
        parameters |= {"folder": {"value": folder}} | search_parameters(recipe, set(overrides))
        usual = POINTS_PER_ARM * len(study.arms)
        count = positive("points", usual if options.points is None else options.points)
        content |= {"name": folder, "run_cap": count}
    return content | {"parameters": parameters, "command": list(COMMAND)}


def search_parameters(recipe: Recipe, fixed: set[str]) -> dict[str, Any]:
    """The nuisance parameters as W&B writes ranges; without those that the study varies, that the user has fixed, or
    that some arm does not have: a point draws for any arm."""
    varied = {option for arm in recipe.study.arms for option in arm.values}
    free = without(recipe.study.nuisance, varied | fixed)
    for arm in recipe.study.arms:
        free = within(free, all_options(with_values(recipe.config, arm.values)))
    return {name: as_wandb(dimension) for name, dimension in absolute(free, flat(recipe.config)).items()}


def as_wandb(dimension: Dimension) -> dict[str, Any]:
    """A range in W&B's words."""
    if isinstance(dimension, Levels):
        return {"values": list(dimension.levels)}
    kind = "uniform" if not dimension.whole else "int_uniform"
    if dimension.log:
        kind = "q_log_uniform_values" if dimension.whole else "log_uniform_values"
    number = int if dimension.whole else float
    step = {"q": 1} if dimension.whole and dimension.log else {}
    return {"distribution": kind, "min": number(dimension.low), "max": number(dimension.high), **step}


def names_varied(content: Mapping[str, Any]) -> list[str]:
    """The parameters that have more than one value."""
    return [name for name, spec in content["parameters"].items() if "value" not in spec]


def render(content: Mapping[str, Any], options: FileOptions) -> str:
    """The sweep file: one parameter a line, and what to do with it."""
    lines = [f"# Study {options.study} as a W&B sweep; made by `make wandb-sweep`, made anew when the study changes."]
    if options.search:
        lines += ["# Arms are drawn too: about the same number of points for each."]
    for key, value in content.items():
        if key == "parameters":
            lines += ["parameters:"] + [f"  {name}: {_flow(spec)}" for name, spec in value.items()]
        else:
            lines += [f"{key}: {_flow(value)}"]
    body = "\n".join(lines) + "\n"
    return body + MARK + digest({"body": body}) + "\n"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()


def write(path: Path, text: str, overwrite: bool) -> None:
    """Write the file. Raises UserError rather than replace one that somebody edited."""
    old = path.read_text(encoding="utf-8") if path.exists() else None
    body, mark, said = (old or "").rpartition(MARK)
    edited = not mark or said.strip() != digest({"body": body})
    if old is not None and old != text and edited and not overwrite:
        ways = "move it, or choose another folder with --out, or replace it with --overwrite"
        raise UserError(f"{path}: was edited since it was made, and is left as it is; {ways}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another folder with --out") from error
