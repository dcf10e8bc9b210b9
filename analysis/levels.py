"""Levels of factors: how they are written, and which of two counts as "on"."""

from typing import Any

from analysis.load import StudyResults

SHORT = {"anchor_loss": "anchor", "embedding_norm": "norm", "noise_factor": "F", "token_loss": "token loss"}
"""Names of factors where room is short."""


def short(factor: str) -> str:
    """A factor in a few letters."""
    return SHORT.get(factor, factor.replace("_", " "))


def level_text(study: StudyResults, factor: str, level: Any) -> str:
    """A factor at a level in a few letters: the part of the names of arms that says it ("rounding", "F4").

    Where names are not made of a part for each factor: "anchor", "no anchor", "F = 4".
    """
    at = list(study.factors).index(factor)
    parts = {arm.name: arm.label.split(" · ") for arm in study.arms}
    if {len(each) for each in parts.values()} == {len(study.factors)}:
        found = {parts[arm.name][at] for arm in study.arms if arm.toggles.get(factor) == level}
        if len(found) == 1:
            return found.pop()
    name = short(factor)
    if isinstance(level, bool):
        return name if level else f"no {name}"
    return f"{name} = {level:g}" if isinstance(level, int | float) else f"{name}: {level}"


def toggle_text(level: Any) -> str:
    """A level as a check mark, a dash, or its value."""
    if isinstance(level, bool):
        return "✓" if level else "–"
    return f"{level:g}" if isinstance(level, int | float) else "–" if level is None else str(level)


def on_level(levels: list[Any], control: Any) -> Any:
    """Which of two levels counts as "on": true, the larger number, anything but "none", else the control's."""
    if set(map(type, levels)) == {bool}:
        return True
    if all(isinstance(level, int | float) for level in levels):
        return max(levels)
    named = [level for level in levels if level not in ("none", None, False)]
    return named[0] if len(named) == 1 else (control if control in levels else levels[-1])


def on_levels(study: StudyResults) -> dict[str, Any]:
    """The "on" level of each factor."""
    control = study.arm(study.control).toggles if study.control else {}
    return {name: on_level(levels, control.get(name)) for name, levels in study.factors.items()}
