"""Groups of a study's arms: the levels of its one factor that has more than two, where every other factor has two.

Such a study (three methods x 2 x 2 x 2) asks the same within each group, and whether the answers differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Group:
    """Arms, by name, that share a level of the grouping factor.

    control: the one that the others of the group are compared with, the study's control arm moved to this level.
    """

    level: Any
    arms: tuple[str, ...]
    control: str | None


def varied(factors: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The factors that arms differ in: those of one level alone are none, where others have more."""
    found = {name: list(levels) for name, levels in factors.items()}
    return {name: levels for name, levels in found.items() if len(levels) > 1} or found


def grouping(factors: Mapping[str, Sequence[Any]]) -> str:
    """The factor whose levels are the groups; empty if there is none."""
    many = [name for name, levels in factors.items() if len(levels) > 2]
    two = [name for name, levels in factors.items() if len(levels) == 2]
    return many[0] if len(many) == 1 and two and len(many) + len(two) == len(factors) else ""


def groups_of(
    factors: Mapping[str, Sequence[Any]], toggles: Mapping[str, Mapping[str, Any]], control: str | None
) -> tuple[Group, ...]:
    """The groups of arms, in the order of the levels; toggles: the levels of each arm, by its name."""
    by = grouping(factors)
    own = toggles.get(control or "")
    found = []
    for level in factors[by] if by else ():
        arms = tuple(name for name, levels in toggles.items() if levels.get(by) == level)
        like = None if own is None else {**own, by: level}
        found.append(Group(level, arms, next((name for name in arms if dict(toggles[name]) == like), None)))
    return tuple(found)


def described(info: Mapping[str, Any]) -> tuple[Group, ...]:
    """The groups of a study as its study.json describes it."""
    toggles = {arm["name"]: arm.get("toggles") or {} for arm in info.get("arms") or []}
    return groups_of(varied(info.get("factors") or {}), toggles, info.get("control"))
