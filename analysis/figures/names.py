"""Names as figures show them: in one line, without hidden characters, and short enough to leave room for the axes.

Only what is drawn is shortened: frames get whole names back (`whole`). Mathematics between dollars is off in
paper.mplstyle, except in labels of our own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.figures.layout import text_width
from analysis.load import StudyResults
from analysis.plain_text import one_line
from analysis.searches import Search

WIDEST = 1.9
"""Inches of a name that are drawn; of a wider one its beginning and its end."""
MOST = 100
"""Characters of a name that are looked at."""


def shorten_name(name: str) -> str:
    """One line at most WIDEST inches wide."""
    text = one_line(name)
    if text_width(text[:MOST]) <= WIDEST and len(text) <= MOST:
        return text
    for kept in range(min(MOST, len(text)), 0, -1):
        cut = f"{text[: kept - kept // 3]}…{text[len(text) - kept // 3 :]}"
        if text_width(cut) <= WIDEST:
            break
    return cut


def shorten_each(names: Mapping[str, str]) -> dict[str, str]:
    """Names by any key; those that would look alike are numbered."""
    drawn: dict[str, str] = {}
    for key, name in names.items():
        text, count = shorten_name(name), 1
        while (text if count == 1 else f"{text} ({count})") in drawn.values():
            count += 1
        drawn[key] = text if count == 1 else f"{text} ({count})"
    return drawn


def shorten_names(study: StudyResults) -> StudyResults:
    """The study with drawn names of arms, levels and banner."""
    names = shorten_each({arm.name: arm.label for arm in study.arms})
    frames = {
        name: frame.assign(label=frame["arm"].map(names)) if len(frame) else frame
        for name, frame in (("scores", study.scores), ("steps", study.steps), ("metrics", study.metrics))
    }
    arms = tuple(dataclasses.replace(a, label=names[a.name], toggles=_levels(a.toggles)) for a in study.arms)
    factors = {name: [_level(each) for each in levels] for name, levels in study.factors.items()}
    info = dict(study.info)
    if info.get("banner"):
        info["banner"] = one_line(info["banner"])
    if info.get("arms"):
        info["arms"] = [arm | {"toggles": _levels(arm.get("toggles") or {})} for arm in info["arms"]]
    return dataclasses.replace(study, info=info, arms=arms, factors=factors, **frames)


def _levels(toggles: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _level(level) for name, level in toggles.items()}


def _level(level: Any) -> Any:
    return shorten_name(level) if isinstance(level, str) else level


def restore_names(
    frame: pd.DataFrame, names: Mapping[str, str], controls: Mapping[str, str | None] | None = None
) -> pd.DataFrame:
    """The frame of a figure with whole names in place of drawn ones; names: of the arms, controls: theirs, by arm."""
    drawn = shorten_each(names)
    back = {drawn[arm]: name for arm, name in names.items()}
    for arm, control in (controls or {}).items():  # differences are named after both arms
        if control:
            back[f"{drawn[arm]} - {drawn[control]}"] = f"{names[arm]} - {names[control]}"
    return frame.assign(label=frame["label"].map(lambda label: back.get(label, label)))


def shorten_search_names(found: Search) -> Search:
    """A search, and the studies made after it, with drawn names."""
    names = shorten_each(search_names(found))
    search = found.search | {"arms": [arm | {"label": names[arm["name"]]} for arm in found.search["arms"]]}
    search["banner"] = one_line(search.get("banner") or "")
    default, best = (shorten_names(study) if study else None for study in (found.default, found.best))
    return dataclasses.replace(found, search=search, default=default, best=best)


def search_names(found: Search) -> dict[str, str]:
    """The arms of a search: name -> label."""
    return {arm["name"]: str(arm["label"]) for arm in found.search["arms"]}
