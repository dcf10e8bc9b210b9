"""search.json: all that is known of a search, written as a whole whenever something is new; what analysis reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ablations import records
from core.errors import UserError
from core.run_folder import SEARCH, write_json
from core.run_folder import read as read_file
from sweeps.running.plan import described
from sweeps.tuning.arm_trials import DECODING, OVER, STATES, TRAINING, best, part
from sweeps.tuning.importance import EVALUATOR, importance, over_all
from sweeps.tuning.points import Space, described_space
from sweeps.tuning.rounds import Search, complete, opened

FORMAT = 1
SELECTION = "mean validation score over the search seeds, decoded with the trial's own options; never a test score"


def read(search: Search) -> dict[str, Any] | None:
    """The record on disk, if there is one."""
    path = search.folder / SEARCH
    return read_file(path) if path.exists() else None


def write(search: Search, spent: float, finished: bool = False) -> dict[str, Any]:
    """Write search.json anew; returns its content. spent: seconds of wall-clock time so far."""
    content = record(search, spent, finished)
    write_json(search.folder / SEARCH, content)
    return content


def record(search: Search, spent: float, finished: bool) -> dict[str, Any]:
    """The content of search.json."""
    rounds = complete(search)
    trials = {arm.name: search.arm_trials[arm.name].read() for arm in search.arms}
    counted = {arm: [t for t in own if t.user_attrs["round"] < rounds] for arm, own in trials.items()}
    return {
        "format": FORMAT,
        **search.facts,
        "metric": search.metric,
        "selection": SELECTION,
        "seeds": list(search.seeds),
        "objectives": list(search.objectives),
        "pruner": search.pruner,
        "decodings": max(search.redecodings(arm.name) for arm in search.arms),
        "budget_s": search.budget,
        "trials_per_arm": search.trials,
        "spent_s": spent,
        "finished": finished,
        "rounds": rounds,
        "rounds_begun": opened(search),
        **spaces(search),
        "arms": [described(arm) for arm in search.arms],
        "trials": [row(search, arm, trial) for arm, own in trials.items() for trial in own],
        "spent": {arm: cost(own) for arm, own in counted.items()},
        "best": {arm: best_point(search.spaces[arm], own) for arm, own in counted.items()},
        "pareto": {arm: pareto(own) for arm, own in counted.items()} if len(search.objectives) > 1 else None,
        "importance": importances(search, counted) if finished else None,
    }


def spaces(search: Search) -> dict[str, Any]:
    """What was searched: `dimensions`, `trained`, `defaults` of all arms together, and where arms differ those of each
    by name, in the same form, under `own`."""
    each = {arm: described_space(space) for arm, space in search.spaces.items()}
    parts = list(each.values())
    whole: dict[str, Any] = {
        "dimensions": {name: one for own in parts for name, one in own["dimensions"].items()},
        "trained": list(dict.fromkeys(name for own in parts for name in own["trained"])),
        "defaults": {name: value for own in parts for name, value in own["defaults"].items()},
    }
    return whole if all(own == whole for own in parts) else whole | {"own": each}


def row(search: Search, arm: str, trial: FrozenTrial) -> dict[str, Any]:
    """One trial; reports: values on the way, by step."""
    facts = {"arm": arm, "number": trial.number, "state": STATES[trial.state], "params": trial.params}
    facts |= {"options": search.spaces[arm].options(trial.params)}
    facts |= {name: value for name, value in trial.user_attrs.items() if not name.startswith("_")}
    steps = {str(step): value for step, value in sorted(trial.intermediate_values.items())}
    return facts | {"objectives": trial.values, "reports": steps}


def cost(trials: Iterable[FrozenTrial]) -> dict[str, Any]:
    """What was spent on an arm, in the rounds that count."""
    trials = list(trials)
    states = [trial.state for trial in trials]
    return {
        "trials": len(part(trials, TRAINING)),
        "decodings": len(part(trials, DECODING)),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
        "updates": sum(trial.user_attrs.get("updates") or 0 for trial in trials),
        "seconds": sum(trial.user_attrs.get("seconds") or 0.0 for trial in trials),
    }


def best_point(space: Space, trials: list[FrozenTrial]) -> dict[str, Any] | None:
    """The arm's best point, and what the default scored."""
    leader = best(trials)
    if leader is None:
        return None
    first = next((t for t in trials if t.user_attrs["round"] == 0 and t.user_attrs["part"] == TRAINING), None)
    return {
        "number": leader.number,
        "params": leader.params,
        "options": space.options(leader.params),
        "value": leader.values[0],
        "values": leader.user_attrs["values"],
        "default_value": first.values[0] if first is not None and first.state == TrialState.COMPLETE else None,
    }


def pareto(trials: Iterable[FrozenTrial]) -> list[int]:
    """Numbers of the completed trials that no other one beats in score without being slower, or the other way."""

    def dominates(a: list[float], b: list[float]) -> bool:
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return [t.number for t in done if not any(dominates(other.values, t.values) for other in done)]


def importances(search: Search, trials: Mapping[str, list[FrozenTrial]]) -> dict[str, Any]:
    """Per arm, and over all in the dimensions that all arms have."""
    each = {arm: search.spaces[arm].distributions for arm in trials}
    first = next(iter(each.values()))
    common = {name: one for name, one in first.items() if all(own.get(name) == one for own in each.values())}
    per_arm = {arm: importance(own, each[arm]) for arm, own in trials.items()}
    return {"evaluator": EVALUATOR, "arms": per_arm, "all": over_all(trials, common)}


def restore(search: Search) -> None:
    """Enter trials that search.json has and Optuna lacks: its storage was lost, or is another one now.

    Raises UserError if search.json is of a search with other settings.
    """
    known = read(search)
    if known and known["name"] != search.name:
        changed = _changed(known.get("settings") or {}, search.facts["settings"])
        raise UserError(
            f"{search.folder} holds a search with other settings ({changed}); give those again, or rename that folder"
        )
    for arm, own in search.arm_trials.items():
        over = [each for each in (known or {}).get("trials", []) if each["arm"] == arm and each["state"] != "running"]
        if not own.read():
            for each in sorted(over, key=lambda row: row["number"]):
                own.restore(search.spaces[arm], each)


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which settings differ, and what they were."""
    names = [name for name in new if old.get(name) != new[name]]
    return ", ".join(f"{name}: {old.get(name)}" for name in names) or "its options or arms"


def tidy(search: Search) -> None:
    """Delete the weights of the runs that nothing will be decoded from again: all but each arm's best training's."""
    for arm in search.arms:
        trials = search.arm_trials[arm.name].read()
        if (leader := best(trials)) is None:
            continue
        names = search.spaces[arm.name].training.dimensions
        runs = {run for t in trials if t.state in OVER for run in t.user_attrs.get("runs", [])}
        same = [t for t in part(trials, TRAINING) if all(t.params[n] == leader.params[n] for n in names)]
        for run in runs - {run for t in same for run in t.user_attrs.get("runs", [])}:
            records.lighten(search.folder / run)
