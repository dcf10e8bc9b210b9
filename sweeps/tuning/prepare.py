"""From the options of a search to the search, and the sweep of its arms at the default. Nothing is written."""

from dataclasses import replace
from typing import Any

from core.config import digest, flat
from core.errors import UserError
from core.run_folder import JOURNAL
from sweeps.running import prepare as sweeps
from sweeps.running.conduct import Sweep
from sweeps.running.options import workers_for
from sweeps.running.recipe import Recipe, corpus_digest, identify
from sweeps.running.storage import resolve
from sweeps.tuning import compare, search_record
from sweeps.tuning.options import SearchOptions, budget_of, check, objectives_of, pruner_of
from sweeps.tuning.points import spaces_for
from sweeps.tuning.rounds import Search

FIRST_SEED = 101
"""Search seeds are 101, 102, ...; a study's own are 1, 2, ..."""


def prepare(options: SearchOptions, program: str) -> tuple[Sweep, Search]:
    """The sweep of the arms at the default, and the search. Raises UserError for a wrong option; writes nothing."""
    check(options)
    objectives = objectives_of(options.objectives)
    pruner, budget = pruner_of(options, objectives), budget_of(options)
    recipe, seeds = sweeps.recipe_of(options)
    if seeds >= FIRST_SEED:
        raise UserError(f"--seeds {seeds}: seeds from {FIRST_SEED} on belong to the search; use fewer")
    sweep, _ = sweeps.prepare(options, program)
    wanted = {job.arm for job in sweep.jobs}
    title = f"{recipe.folder}-search"
    search = Search(
        title=title,
        study=recipe.study,
        arms=tuple(arm for arm in recipe.study.arms if arm.name in wanted),
        config=recipe.config,
        spaces=spaces_for(recipe.study, recipe.config, options.search_seed),
        seeds=tuple(range(FIRST_SEED, FIRST_SEED + options.trial_seeds)),
        runs=options.runs,
        storage=resolve(options.storage) or str(options.runs / title / JOURNAL),
        name=title,
        identify=identify,
        metric=recipe.study.metric,
        pruner=pruner,
        objectives=objectives,
        decodings=options.decodings,
        trials=options.trials,
        budget=budget,
        workers=workers_for(options, sweep.devices, recipe.config),
        devices=sweep.devices,
    )
    return sweep, with_name(search, recipe, sweep, options.search_seed)


def with_name(search: Search, recipe: Recipe, sweep: Sweep, seed: int) -> Search:
    """The search with its name, which changes with whatever its trials depend on, and with what search.json says."""
    searched = search_record.spaces(search)
    settings: dict[str, Any] = {"dimensions": searched["dimensions"], "trial_seeds": len(search.seeds)}
    settings |= {"pruner": search.pruner, "objectives": list(search.objectives), "decodings": search.decodings}
    settings |= {"search_seed": seed, "metric": search.metric}
    if "own" in searched:
        settings["own"] = {arm: own["dimensions"] for arm, own in searched["own"].items()}
    options = {name: value for name, value in flat(recipe.config).items() if name != "seed"}
    arms = {arm.name: dict(arm.values) for arm in recipe.study.arms}
    text = corpus_digest(recipe.config.data)
    name = f"{search.title}-{digest({'settings': settings, 'options': options, 'arms': arms, 'text': text})}"
    facts: dict[str, Any] = {"study": recipe.folder, "name": name, "preset": recipe.preset.name, "settings": settings}
    facts |= {"command": sweep.facts["command"], "banner": sweep.facts["banner"], "control": recipe.study.control}
    facts |= {"default": recipe.folder, "tuned": compare.folder(recipe.folder)}
    return replace(search, name=name, facts=facts)
