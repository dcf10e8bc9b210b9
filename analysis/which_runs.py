"""Which runs of a study are its results, why the others are none, and in what the results differ that no arm sets."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.files import failure
from core.errors import UserError
from core.run_folder import SCORES

NAMED = 3
"""Of many runs left out, so many are named."""


def score_named(name: str, scores: Mapping[str, dict[str, Any]]) -> str:
    """The score of that name in scores.json, own ones (`make rescore`) also without what their names begin with."""
    known = {key for found in scores.values() for key, value in found.items() if isinstance(value, int | float)}
    for key in (name, f"own/{name}"):
        if key in known:
            return key
    raise UserError(f"--metric {name}: no result has this score; there are {', '.join(sorted(known)) or 'none'}")


def mixed_scoring(scores: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say that results were not scored alike, versions aside."""
    signatures = {str(found["signature"]).rpartition("|version:")[0] for found in scores if found.get("signature")}
    some = " against ".join(sorted(signatures))
    return [f"the BLEUs are not comparable ({some}): make rescore scores all alike"] if len(signatures) > 1 else []


def mixed_options(records: list[dict[str, Any]], info: Mapping[str, Any]) -> list[str]:
    """Say which options differ among results although no arm of the study sets them.

    Where arms are of several methods, an option counts for those methods that read it; what differs from one method to
    the next alone is said in one sentence, since most of it makes up the methods.
    """
    varied = {"seed", "data"}.union(*[arm.get("values") or {} for arm in info.get("arms") or []])
    if not any(arm.get("values") for arm in info.get("arms") or []):
        return []
    notes, between = [], []
    configs = [record.get("config") or {} for record in records]
    for option in sorted(set().union(*configs) - varied):
        readers = {config.get("method") for config in configs if option in config}
        own = [config for config in configs if "method" not in varied or config.get("method") in readers]
        levels = sorted({json.dumps(config.get(option)) for config in own})
        pairs = {(config.get("method"), json.dumps(config.get(option))) for config in own}
        if len(levels) > 1 and "method" in varied and len(pairs) == len(readers):
            between.append(option)
        elif len(levels) > 1:
            notes.append(f"the results differ in {option}, which no arm sets: {', '.join(levels)}")
    if between:
        notes.append(f"the methods differ in options that no arm sets, one value for each method: {', '.join(between)}")
    return notes


def results_of(
    records: Mapping[str, dict[str, Any]],
    scores: Mapping[str, dict[str, Any]],
    info: dict[str, Any] | None,
    damaged: Mapping[str, str],
) -> tuple[list[str], list[dict[str, Any]], list[str]]:
    """The runs that are results (one per arm and seed), those that are none and why, and notes about the rest."""
    known, planned = {arm["name"] for arm in (info or {}).get("arms") or []}, (info or {}).get("runs")
    metric = (info or {}).get("metric") or "bleu"
    chosen: dict[tuple[str, int], str] = {}
    failures, notes, others = [], [], dict[str, list[str]]()
    for name, record in sorted(records.items(), key=lambda item: str(item[1].get("finished") or "")):
        if known and record["arm"] not in known:
            others.setdefault("of arms that are not in study.json", []).append(name)
            continue
        if planned is not None and name not in planned:
            others.setdefault("not among those of the sweep that study.json describes", []).append(name)
            continue
        reason = _no_result(record, scores.get(name), metric, damaged.get(name))
        if reason:
            failures.append(failure(name, record, reason))
            continue
        key = (record["arm"], record["seed"])
        if key in chosen:
            notes.append(f"{chosen[key]} left out: {name} is a later run of the same arm and seed")
        chosen[key] = name
    done, notes = set(chosen), [left_out(names, why) for why, names in others.items()] + notes
    return list(chosen.values()), [f for f in failures if (f["arm"], f["seed"]) not in done], notes


def left_out(names: list[str], why: str) -> str:
    """One line for all runs left out for one reason: '3 runs left out, ...: a, b and c'; of many, the first three."""
    shown = sorted(names)[:NAMED]
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    *first, last = shown + more
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"{len(names)} run{'s' * (len(names) > 1)} left out, {why}: {listed}"


def _no_result(
    record: Mapping[str, Any], scores: Mapping[str, Any] | None, metric: str, damage: str | None
) -> str | None:
    """Why a run is not a result, or None if it is one."""
    if record.get("state") != "finished":
        state = record.get("state", "unknown")
        return f"{state}: {record['reason']}" if record.get("reason") else f"{state}, not finished"
    if scores is None:
        return f"finished, but {SCORES} {damage or 'is missing'}"
    value = scores.get(metric)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return f"finished, but {SCORES} has no finite {metric}"
    return None


def states_of(failures: list[dict[str, Any]]) -> str:
    """The states of the runs without a result, with one reason as an example."""
    states = pd.Series([failure["state"] for failure in failures], dtype=object).value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{counts} (such as {failures[0]['run']}: {failures[0]['reason']})" if failures else "nothing was started"
