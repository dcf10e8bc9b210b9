"""Which arms a study has with a preset and options: those that can have them. --only leaves out the others."""

import shlex
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.studies import Arm, Study
from core.config import RunConfig, all_options, belongs_to, with_values
from core.errors import UserError
from sweeps.running import plan
from sweeps.running.recipe import Recipe

Make = Callable[[Study], Recipe]
"""The recipe of a study. Raises UserError where its control, from whose options all arms start, cannot have it."""


def recipe_for(study: Study, overrides: Mapping[str, Any], make: Make, only: Sequence[str] | None) -> Recipe:
    """The recipe of a study; where --only leaves out arms that cannot have it, that of all arms that can.

    So the study's folder is the same whatever else is left out. overrides: options that an arm must read. only: the
    arms to run, none = all; None where nothing can be left out. Raises UserError for one of these that cannot run.
    """
    names = [arm.name for arm in study.combinations]
    wanted = plan.chosen(names, only or ())
    unread = {arm.name: error for arm in study.combinations if (error := unread_by(arm, overrides))}
    found, wrong = first_possible(study, unread, make)
    if found is None:  # a wrong value is said rather than that some do not read it
        raise next(
            error
            for found in (wrong, unread)
            for error in [*(found.get(name) for name in wanted), *found.values()]
            if error
        )
    readers = [arm for arm in study.combinations if arm.name not in unread]
    faults = unread | {arm.name: error for arm in readers if (error := refusal(found, arm))}
    if refused := [name for name in wanted if name in faults]:
        others = [name for name in wanted if name not in faults]
        way = f"; others can run: --only {shlex.join(others)}" if others and only is not None else ""
        raise UserError(f"{faults[refused[0]]}{way}") from faults[refused[0]]
    return make(study.of_arms([name for name in names if name not in faults])) if faults else found


def unread_by(arm: Arm, overrides: Mapping[str, Any]) -> UserError | None:
    """Which option of --set an arm's method does not read, and which methods do."""
    method = {name: value for name, value in overrides.items() if name == "method"}
    known = all_options(with_values(RunConfig(), method | dict(arm.values)))
    for name in overrides:
        if name not in known and (readers := belongs_to(name)):
            return UserError(f"--set {name}: arm {arm.name} does not read it; it belongs to {', '.join(readers)}")
    return None


def first_possible(study: Study, but: Container[str], make: Make) -> tuple[Recipe | None, dict[str, UserError]]:
    """The recipe that starts from the control, or else from the nearest arm that can; what is wrong with those before.

    but: arms that are none to start from.
    """
    wrong = dict[str, UserError]()
    for arm in study.nearest_first:
        if arm.name not in but:
            try:
                return make(replace(study, control=arm.name)), wrong
            except UserError as error:
                wrong[arm.name] = error
    return None, wrong


def refusal(recipe: Recipe, arm: Arm) -> UserError | None:
    """Why no run of an arm can have what a recipe says, the machine aside."""
    try:
        plan.options_for(recipe.study.as_run(arm), recipe.config)
    except UserError as error:
        return error
    return None
