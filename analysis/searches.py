"""A search and what was run after it, as frames: arms, effects, importance, trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.effects import effects_of, factorial_cells
from analysis.load import StudyResults, load
from analysis.stats import holm, mean_interval_t, paired, t_pvalue, verdict
from analysis.tested import judged, mean_columns
from core.errors import UserError
from core.run_folder import SEARCH, try_read

LABELS = {"steps": "K", "decoding_noise_factor": "sampler's F", "lr": "learning rate", "warmup": "warm-up"}
"""Names of searched options in tables and figures."""


def label(option: str) -> str:
    """An option's name for people."""
    return LABELS.get(option, option.replace("_", " "))


@dataclass(frozen=True)
class Search:
    """A search and the two studies made after it; either is None until it has a result.

    search: the content of search.json. notes: why a study is missing.
    """

    path: Path
    search: dict[str, Any]
    default: StudyResults | None
    best: StudyResults | None
    notes: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The score that arms are compared by."""
        return str(self.search["metric"])

    @property
    def no_verdict(self) -> str:
        """Why nothing can be decided by these scores: those at each arm's own best, where there are any."""
        study = self.best or self.default
        return study.no_verdict if study else ""

    @property
    def banner(self) -> str:
        """What must stand wherever numbers are shown; may be empty."""
        return " ".join(part for part in (self.no_verdict, str(self.search.get("banner") or "")) if part)

    def space(self, arm: str) -> dict[str, Any]:
        """What was searched for an arm: `dimensions`, `trained`, `defaults`; its own where arms differ in them."""
        space: dict[str, Any] = (self.search.get("own") or {}).get(arm, self.search)
        return space

    @property
    def points(self) -> dict[str, dict[str, Any]]:
        """The best point of each arm with a complete trial, which a search in its first round has none of."""
        return {arm: point for arm, point in (self.search["best"] or {}).items() if point}

    @cached_property
    def arms(self) -> pd.DataFrame:
        """A row per arm: score at the default and at its best, their paired difference, tuned options, cost.

        Both scores are over the seeds that have both, unless one column has no result at all; `left_out` names others.
        """
        rows = [self._arm(arm) for arm in self.search["arms"]]
        for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
            interval = mean_interval_t(row.pop("_x"))
            row["p_holm"] = float(adjusted)
            row["verdict"] = verdict(interval, p_adjusted=float(adjusted))
        return judged(pd.DataFrame(rows), self.no_verdict)

    def _arm(self, arm: Mapping[str, Any]) -> dict[str, Any]:
        name = arm["name"]
        found = [study.values(study.metric, name) if study else {} for study in (self.default, self.best)]
        common = found[0].keys() & found[1].keys()
        values = [{s: v for s, v in each.items() if s in common} for each in found] if common else found
        x = paired(values[1], values[0])
        row: dict[str, Any] = {"arm": name, "label": arm["label"]}
        for prefix, each in zip(("default", "best"), values, strict=True):
            row |= mean_columns(prefix, list(each.values())) | {f"{prefix}_n": len(each)}
        row |= mean_columns("difference", x) | {"difference_n": x.size, "p": t_pvalue(x)}
        row["left_out"] = " ".join(map(str, sorted(found[0].keys() ^ found[1].keys()))) if common else ""
        point = self.points.get(name, {})
        row |= {"validation_default": point.get("default_value"), "validation_best": point.get("value")}
        row |= {f"option/{option}": value for option, value in (point.get("params") or {}).items()}
        return row | {f"spent/{key}": value for key, value in self.search["spent"][name].items()} | {"_x": x}

    @cached_property
    def effects(self) -> pd.DataFrame:
        """A row per effect of the factorial: at the default, at each arm's own best, and its change (paired by seed).

        All three over the seeds that have a result in every arm of both columns; empty where there is none.
        """
        if self.default is None or self.best is None:
            return pd.DataFrame()
        (before, seeds), (after, others) = factorial_cells(self.default), factorial_cells(self.best)
        common = [seed for seed in seeds if seed in others]
        if not common:
            return pd.DataFrame()
        before, after = before[[seed in common for seed in seeds]], after[[seed in common for seed in others]]
        names, keys = list(self.default.factors), ["effect", "order", "kind"]
        columns = {"_default": before, "_best": after, "_change": after - before}
        frames = [
            judged(effects_of(cells, names), self.no_verdict).set_index(keys).add_suffix(suffix)
            for suffix, cells in columns.items()
        ]
        return pd.concat(frames, axis=1).assign(seeds=" ".join(map(str, common))).reset_index()

    @cached_property
    def importance(self) -> pd.DataFrame:
        """Rows arm, label, option, share: of each arm's scores, and over all (arm "all")."""
        found = self.search.get("importance") or {}
        labels = {arm["name"]: arm["label"] for arm in self.search["arms"]} | {"all": "all arms together"}
        shares = {**(found.get("arms") or {}), "all": found.get("all") or {}}
        rows = [
            {"arm": arm, "label": labels[arm], "option": option, "share": share}
            for arm, own in shares.items()
            for option, share in (own or {}).items()
        ]
        return pd.DataFrame(rows, columns=["arm", "label", "option", "share"])

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Completed trials of the rounds that count: arm, label, number, part, value, decode_ms, front (or not)."""
        labels = {arm["name"]: arm["label"] for arm in self.search["arms"]}
        front = self.search.get("pareto") or {}
        kept = [t for t in self.search["trials"] if t["state"] == "complete" and t["round"] < self.search["rounds"]]
        rows = [
            {"arm": t["arm"], "label": labels[t["arm"]], "number": t["number"], "part": t["part"], "value": t["value"]}
            | {"decode_ms": t.get("decode_ms"), "front": t["number"] in front.get(t["arm"], [])}
            | {f"option/{name}": value for name, value in t["params"].items()}
            for t in kept
        ]
        names = ["arm", "label", "number", "part", "value", "decode_ms", "front"]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=names)


def load_search(path: Path) -> Search | None:
    """The search in a folder, with what was run after it; None if the folder holds no search.

    Raises UserError if its search.json cannot be read.
    """
    file = Path(path) / SEARCH
    search, complaint = try_read(file)
    if complaint:
        raise UserError(f"{file} {complaint}. Start the search again, which writes it anew")
    if search is None:
        return None
    studies: dict[str, StudyResults | None] = {}
    notes = []
    if damaged := search["damaged"]:
        notes.append(f"{len(damaged)} of the trials in {SEARCH} left out, damaged ({damaged[0]})")
    for which in ("default", "tuned"):
        folder = Path(path).parent / str(search[which])
        try:
            studies[which] = load(folder)
        except UserError as error:
            studies[which] = None
            notes.append(f"no results in {folder.name} ({error})")
    return Search(Path(path), search, studies["default"], studies["tuned"], tuple(notes))
