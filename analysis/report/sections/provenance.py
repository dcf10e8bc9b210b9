"""Where every number comes from: the recipe in sentences, a row for each run, and the options of each arm."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd

from analysis.footer import exceptions, footer, updates_of
from analysis.load import ArmResults, StudyResults
from analysis.numbers import number
from analysis.report.folders import folder_link
from analysis.report.html import Html, join, tag, text_of
from analysis.report.html_tables import cell_text, download, scroll, table
from analysis.report.section import Section

SHOWN = {
    "run": "run folder",
    "seed": "seed",
    "score": "score",
    "brevity_penalty": "BP",
    "length_ratio": "length ratio",
    "candidates": "candidates",
    "decoding_steps": "K",
    "outcome": "outcome",
    "updates": "updates",
    "trials": "tuning trials",
    "wall_s": "wall time (s)",
    "device": "device",
    "precision": "precision",
    "versions": "versions",
    "commit": "commit",
    "started": "started",
    "finished": "finished",
}
FACT = re.compile(r"(?<=\.) (?=(?:Tokenizer|Device|Intervals): )")
"""Where a line of the tables' footer goes on to another fact."""
DIGITS = {"score": 2, "brevity_penalty": 3, "length_ratio": 3, "wall_s": 0}


def provenance_section(study: StudyResults, base: str | None = None) -> Section:
    """Recipe, runs and options. base: where the study's folder is, seen from the page."""
    frame = runs_frame(study)
    saved = tag("p", "With commands, versions and all options: ", download(frame, study.name, "runs"), class_="note")
    body = [
        tag("dl", recipe(study), class_="recipe"),
        tag("h3", "Runs", id="runs"),
        tag("p", "Each arm's numbers are made from these runs; each is a folder of that name beside study.json."),
        _runs_table(study, frame, base),
        saved,
        tag("h3", "Options"),
        options_table(study),
    ]
    return Section("provenance", "Provenance of every number", join(body))


def recipe(study: StudyResults) -> list[Html]:
    """The footer of the tables as terms and descriptions."""
    odd = set(exceptions(study)) | {study.banner}
    parts = []
    lines = [line for line in footer(study) if line not in odd]
    for fact in [fact for line in lines for fact in FACT.split(line)]:
        name, _, text = fact.partition(": ")
        parts += [tag("dt", name), tag("dd", text)]
    return parts


def runs_frame(study: StudyResults) -> pd.DataFrame:
    """A row per result with everything its record says about where it comes from."""
    rows = []
    for row in study.scores.to_dict("records"):
        record = study.records[row["run"]]
        facts = {key: row.get(key) for key in ("run", "arm", "label", "seed", "outcome", "candidates", "signature")}
        facts |= {key: row.get(key) for key in ("brevity_penalty", "length_ratio", "decoding_steps", "early_stop")}
        facts |= {"score": row[study.metric], "metric": study.metric, "wall_s": row.get("cost/wall_s")}
        facts |= {
            key: record.get(key)
            for key in ("hash", "started", "finished", "device", "processor", "threads", "precision")
        }
        facts |= {key: record.get(key) for key in ("commit", "command", "attempts")}
        facts |= {"trials": (record.get("tuning") or {}).get("trials")}
        facts |= {"updates": updates_of(record)}
        for key in ("versions", "data", "config"):
            facts[key] = json.dumps(record.get(key) or {}, ensure_ascii=False)
        rows.append(facts)
    return pd.DataFrame(rows)


def _runs_table(study: StudyResults, frame: pd.DataFrame, base: str | None) -> Html:
    """The runs, grouped by arm; a link to an arm finds its group."""
    shown = [key for key in SHOWN if key in frame and frame[key].notna().any()]
    heads = tag("tr", [tag("th", SHOWN[key], scope="col", class_="number" if key in DIGITS else None)
                       for key in shown])  # fmt: skip
    groups = []
    for i, arm in enumerate(study.arms):
        rows = frame[frame["arm"] == arm.name].to_dict("records")
        head = tag("tr", tag("th", text_of(arm.label), scope="rowgroup", colspan=str(len(shown))), class_="group")
        groups.append(tag("tbody", head, [_run_row(row, shown, base) for row in rows], id=f"arm-{i}"))
    caption = tag("caption", "Runs behind the numbers", class_="hidden")
    return scroll(tag("table", caption, tag("thead", heads), groups, class_="runs"), "Runs behind the numbers")


def _run_row(row: dict[str, Any], shown: list[str], base: str | None) -> Html:
    cells = [tag("td", text_of(_shown(key, row.get(key))), class_="number" if key in DIGITS else None)
             for key in shown if key != "run"]  # fmt: skip
    return tag("tr", tag("th", folder_link(row["run"], base), scope="row"), cells)


def moment(value: Any) -> str:
    """An ISO time to the minute, such as '2026-11-20 10:05 UTC'; empty for what is no time."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return ""
    return f"{found:%Y-%m-%d %H:%M}" + (" UTC" if found.tzinfo and not found.utcoffset() else "")


def _shown(key: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "n/a"
    if key in DIGITS:
        return number(float(value), DIGITS[key])
    if key == "versions":
        versions = json.loads(str(value))
        return ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "sacrebleu") if name in versions)
    if key in ("started", "finished"):
        return moment(value) or str(value)
    if key == "commit":
        return str(value)[:12] + str(value)[40:]
    return cell_text(int(value) if isinstance(value, float) and value == int(value) else value)


def options_table(study: StudyResults) -> Html:
    """The options that differ between arms as a table; those of some methods alone, and common ones, in disclosures."""
    configs = {arm.name: _config(study, arm) for arm in study.arms}
    names = sorted(set().union(*configs.values()) - {"seed"})
    partial = [name for name in names if any(name not in config for config in configs.values())]
    levels = {name: {json.dumps(config.get(name)) for config in configs.values()} for name in names}
    varied = [name for name in names if len(levels[name]) > 1 and name not in partial]
    rows = [[arm.label, *(_option(configs[arm.name], name) for name in varied)] for arm in study.arms]
    differing = table(["arm", *varied], rows, "Options that differ between arms") if varied else None
    common = [name for name in names if name not in varied and name not in partial]
    first = next(iter(configs.values()))
    own = [[name, *(_option(configs[arm.name], name) for arm in study.arms)] for name in partial]
    return join(
        differing,
        _disclosed("that not all arms have", ["option", *(arm.label for arm in study.arms)], own),
        _disclosed("that are the same in all arms", ["option", "value"], [[n, _option(first, n)] for n in common]),
    )


def _disclosed(which: str, heads: list[str], rows: list[list[str]]) -> Html | None:
    if not rows:
        return None
    inner = table(heads, rows, f"Options {which}")
    return tag("details", tag("summary", f"{len(rows)} options {which}"), inner, class_="common")


def _option(config: Mapping[str, Any], name: str) -> str:
    return "n/a" if name not in config else "none" if config[name] is None else str(config[name])


def _config(study: StudyResults, arm: ArmResults) -> dict[str, Any]:
    run = study.scores.loc[study.scores["arm"] == arm.name, "run"].iloc[0]
    return dict(study.records[run].get("config") or {})
