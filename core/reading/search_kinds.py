"""What the record of a search (search.json) holds, as types: checked once, where it is read."""

from collections.abc import Collection
from typing import Any, TypedDict

from core.reading.file_kinds import Arm, Option, Scalar
from core.reading.typed import Name, misfit, printable


class _Point(TypedDict):
    params: dict[str, Scalar]


class Point(_Point, total=False):
    """The best point of an arm of a search."""

    number: int
    options: dict[str, Option]
    value: float | None
    values: dict[str, float | None]
    default_value: float | None


class _Trial(TypedDict):
    arm: Name
    number: int
    state: str
    round: int
    part: str
    params: dict[str, Scalar]


class Trial(_Trial, total=False):
    """A trial of a search."""

    value: float | None
    outcomes: list[str]
    decode_ms: float | None
    options: dict[str, Option]
    objectives: list[float] | None
    reports: dict[str, float | None]
    runs: list[Name]


class _Importance(TypedDict):
    evaluator: str


class Importance(_Importance, total=False):
    """How much each searched option matters."""

    arms: dict[str, dict[str, float | None] | None] | None
    all: dict[str, float | None] | None


class _Spent(TypedDict):
    trials: int
    decodings: int


class Spent(_Spent, total=False):
    """What an arm's trials cost."""

    pruned: int
    failed: int
    updates: int
    seconds: float


class Space(TypedDict, total=False):
    """What was searched."""

    dimensions: dict[str, Any]
    trained: list[str]
    defaults: dict[str, Scalar]


class _Search(TypedDict):
    arms: list[Arm]
    default: Name
    tuned: Name


class Search(_Search, Space, total=False):
    """search.json."""

    metric: str
    best: dict[str, Point | None] | None
    spent: dict[str, Spent]
    trials: list[Any]
    rounds: int
    study: str
    name: str
    seeds: list[int]
    spent_s: float
    budget_s: float | None
    trials_per_arm: int | None
    command: str
    selection: str
    objectives: list[str]
    pruner: str
    decodings: int
    banner: str | None
    settings: dict[str, Any] | None
    own: dict[str, Space] | None
    importance: Importance | None
    pareto: dict[str, list[int]] | None


FILLED: dict[str, Any] = {
    "metric": "bleu",
    "best": {},
    "spent": {},
    "trials": [],
    "rounds": 0,
    "study": "unknown",
}
FILLED |= {
    "spent_s": 0.0,
    "command": "",
    "selection": "",
    "objectives": ["score"],
    "pruner": "none",
    "seeds": [],
}
FILLED |= {"decodings": 0, "dimensions": {}, "trained": [], "defaults": {}}


def wrong_search(value: Any) -> str:
    """What is wrong with a search.json, or nothing."""
    if wrong := misfit(value, Search):
        return wrong
    names = {arm["name"] for arm in value["arms"]}
    if lacking := names - value.get("spent", {}).keys():
        return f"`spent` lacks arm {min(lacking)}"
    importance = value.get("importance") or {}
    if others := (importance.get("arms") or {}).keys() - names:
        return f"`importance` has arm {printable(min(others))}, which is none of `arms`"
    lacking = [name for name, own in (value.get("own") or {}).items() if Space.__annotations__.keys() - own.keys()]
    return f"`own.{printable(lacking[0])}` is not whole" if lacking else ""


def wrong_trial(value: Any, arms: Collection[str], number: int) -> str:
    """What is wrong with a trial of a search of these arms, or nothing."""
    where = f"trials[{number}]"
    if wrong := misfit(value, Trial, where):
        return wrong
    if value["arm"] not in arms:
        return f"`{where}` has arm {printable(value['arm'])}, which is none of `arms`"
    return f"`{where}` is complete without a value" if value["state"] == "complete" and "value" not in value else ""
