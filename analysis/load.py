"""Run folders of one study -> tidy frames, whatever state the runs were left in.

`load` never fails because of a single run: one that has no result (pending, failed, killed, unreadable) is listed in
`StudyResults.failed` with its reason, everything odd is said in `StudyResults.notes`. Only a study without any result
is an error.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.files import read_each, read_records, read_study
from analysis.groups import Group, groups_of, varied
from analysis.judging import why_no_verdict, why_none_of_arms
from analysis.missing_study import no_folder, no_runs
from analysis.training_rows import EXTREME as EXTREME
from analysis.training_rows import STEP as STEP
from analysis.training_rows import read_metrics
from analysis.which_runs import mixed_options, mixed_scoring, results_of, score_named, states_of
from core.errors import UserError
from core.run_folder import PROBES, SCORES

RUN_COLUMNS = ["run", "arm", "label", "seed", "hash", "state", "outcome", "reason", "device", "finished"]


@dataclass(frozen=True)
class ArmResults:
    """One arm as the sweep described it: `label` is its name in figures, `toggles` its level of each factor."""

    name: str
    label: str
    toggles: dict[str, Any]


@dataclass(frozen=True)
class StudyResults:
    """What a study left on disk.

    arms: those with at least one result, in display order. records: run name -> its run.json. All frames have the
    columns run, arm, label, seed; `scores` adds the scores of scores.json and the costs of run.json (a row per
    result), `steps` a row per (result, K), `metrics` a row per (result, training step), `failed` state and reason.
    probes: run name -> arrays of probes.npz.
    """

    name: str
    path: Path
    info: dict[str, Any]
    arms: tuple[ArmResults, ...]
    factors: dict[str, list[Any]]
    runs: pd.DataFrame
    scores: pd.DataFrame
    steps: pd.DataFrame
    metrics: pd.DataFrame
    failed: pd.DataFrame
    probes: dict[str, dict[str, np.ndarray]]
    records: dict[str, dict[str, Any]]
    notes: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The score the study is judged by: a column of `scores`."""
        return str(self.info.get("metric") or "bleu")

    @cached_property
    def no_verdict(self) -> str:
        """Why nothing can be decided by these scores (analysis/judging.py); empty if something can."""
        kept = self.info.get("no_verdict")  # of a part of a study it is what it is of the whole
        return why_no_verdict(self.info, self.scores, self.metric) if kept is None else str(kept)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups of arms (analysis/groups.py), those without a result too; none in most studies."""
        toggles = {arm["name"]: arm.get("toggles") or {} for arm in self.info.get("arms") or []}
        toggles |= {arm.name: arm.toggles for arm in self.arms}
        return groups_of(self.factors, toggles, self.info.get("control"))

    @cached_property
    def no_verdicts(self) -> dict[str, str]:
        """Of arms whose group alone allows no verdict: why, by the arm's name."""
        kept = self.info.get("no_verdicts")
        if self.no_verdict or kept is not None:
            return dict(kept or {})
        return why_none_of_arms(self.info, self.scores, self.metric)

    @property
    def banner(self) -> str:
        """What must stand wherever numbers are shown; may be empty."""
        said = dict.fromkeys((self.no_verdict, *self.no_verdicts.values(), str(self.info.get("banner") or "")))
        return " ".join(part for part in said if part)

    @property
    def control(self) -> str | None:
        """Name of the arm the others are compared with, if it has a result."""
        names = [arm.name for arm in self.arms]
        wanted = self.info.get("control")
        return wanted if wanted in names else None

    def control_of(self, arm: str) -> str | None:
        """Name of the arm that one is compared with, if it has a result: of groups the control of its own."""
        if not self.groups:
            return self.control
        own = next((group.control for group in self.groups if arm in group.arms), None)
        return own if own in [each.name for each in self.arms] else None

    @property
    def compared(self) -> bool:
        """Whether there is an arm with a result that others are compared with."""
        return any(self.control_of(arm.name) for arm in self.arms)

    def arm(self, name: str) -> ArmResults:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def values(self, column: str, arm: str) -> dict[int, float]:
        """One column of `scores` for one arm: seed -> value, by rising seed, without missing values."""
        if column not in self.scores:
            return {}
        rows = self.scores[self.scores["arm"] == arm].sort_values("seed")
        pairs = zip(rows["seed"], pd.to_numeric(rows[column], errors="coerce").astype(float), strict=True)
        return {int(seed): float(value) for seed, value in pairs if math.isfinite(value)}


def load(study_dir: str | Path, metric: str | None = None) -> StudyResults:
    """Read runs/<study>. metric: a score to judge it by instead of its own, of those that its results have.

    Raises UserError when there is no folder, no run in it, no result, or no such score.
    """
    path = Path(study_dir)
    if not path.is_dir():
        raise UserError(no_folder(path))
    described = read_study(path)
    records, failures = read_records(path)
    if not records and not failures:
        raise UserError(no_runs(path))
    scores, damaged = read_each(path, [name for name in records if records[name]["state"] == "finished"], SCORES)
    if metric:
        described = (described or _infer(records, path.name)) | {"metric": score_named(metric, scores)}
    chosen, left, notes = results_of(records, scores, described, damaged)
    failures += left
    if not chosen:
        raise UserError(f"no result in {path}: {states_of(failures)}; start the same sweep or search again to go on")
    info = described or _infer(records, path.name)
    arms = _arms(info, {records[name]["arm"] for name in chosen})
    kept = sorted(chosen, key=lambda name: ([a.name for a in arms].index(records[name]["arm"]), records[name]["seed"]))
    heads = {name: _head(name, records[name], arms) for name in kept}
    probes, no_probes = read_each(path, kept, PROBES)
    probe_notes = [f"{name}: {PROBES} {complaint}, left out" for name, complaint in no_probes.items()]
    metrics, metric_notes = read_metrics(path, heads)
    return StudyResults(
        name=str(info.get("study") or path.name),
        path=path,
        info=info,
        arms=arms,
        factors=varied(info.get("factors") or {}),
        runs=pd.DataFrame([_run_row(name, record) for name, record in records.items()], columns=RUN_COLUMNS),
        scores=pd.DataFrame([heads[name] | _score_row(scores[name], records[name]) for name in kept]),
        steps=_steps({name: heads[name] for name in kept}, scores),
        metrics=metrics,
        failed=pd.DataFrame(failures, columns=["run", "arm", "label", "seed", "state", "reason"]),
        probes=probes,
        records={name: records[name] for name in kept},
        notes=tuple(
            notes
            + probe_notes
            + metric_notes
            + mixed_options([records[n] for n in kept], info)
            + mixed_scoring(scores[n] for n in kept)
        ),
    )


def _infer(records: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """A study.json made up from the runs: arms by name, factors from their toggles."""
    by_arm = {record["arm"]: record for record in records.values()}
    arms = [
        {"name": arm, "label": by_arm[arm].get("label") or arm, "toggles": by_arm[arm].get("toggles") or {}}
        for arm in sorted(by_arm)
    ]
    factors: dict[str, list[Any]] = {}
    for record in arms:
        for factor, level in record["toggles"].items():
            levels = factors.setdefault(factor, [])
            if level not in levels:
                levels.append(level)
    metrics = {(record.get("config") or {}).get("metric", "bleu") for record in by_arm.values()}
    metric = metrics.pop() if len(metrics) == 1 else "bleu"
    return {"study": name, "metric": metric, "arms": arms, "factors": factors, "control": None, "banner": None}


def _arms(info: Mapping[str, Any], present: Iterable[str]) -> tuple[ArmResults, ...]:
    """Arms with a result, in the order of study.json."""
    names = set(present)
    described = [arm for arm in info.get("arms") or [] if arm["name"] in names]
    extra = sorted(names - {arm["name"] for arm in described})
    return tuple(
        ArmResults(arm["name"], str(arm.get("label") or arm["name"]), dict(arm.get("toggles") or {}))
        for arm in described
    ) + tuple(ArmResults(name, name, {}) for name in extra)


def _head(name: str, record: Mapping[str, Any], arms: tuple[ArmResults, ...]) -> dict[str, Any]:
    arm = next(arm for arm in arms if arm.name == record["arm"])
    return {"run": name, "arm": arm.name, "label": arm.label, "seed": int(record["seed"])}


def _run_row(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {"run": name} | {column: record.get(column) for column in RUN_COLUMNS if column != "run"}


def _score_row(scores: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Scalars of scores.json, of run.json's cost, and its number of parameters among these; null becomes NaN."""
    cost = {f"cost/{key}": value for key, value in (record.get("cost") or {}).items()}
    cost |= {"cost/parameters": record.get("parameters")}
    row = {key: value for key, value in scores.items() if not isinstance(value, list | dict)}
    row = {key: math.nan if value is None else value for key, value in (row | cost).items()}
    return row | {"outcome": record.get("outcome") or "ok"}


def _steps(heads: Mapping[str, dict[str, Any]], scores: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """by_steps of every result: run, arm, label, seed, steps (K), calls, bleu, seconds, sentences."""
    by_steps = {name: scores[name].get("by_steps") or [] for name in heads}
    rows = [head | row for name, head in heads.items() for row in by_steps[name] if isinstance(row, dict)]
    columns = ["run", "arm", "label", "seed", "steps", "calls", "bleu", "seconds", "sentences"]
    return _numeric(pd.DataFrame(rows, columns=columns))


def _numeric(frame: pd.DataFrame) -> pd.DataFrame:
    """All columns but the names as floats (null and anything unreadable: NaN)."""
    names = {"run", "arm", "label", "seed"}
    return frame.assign(
        **{str(c): pd.to_numeric(frame[c], errors="coerce").astype(float) for c in frame.columns if c not in names}
    )
