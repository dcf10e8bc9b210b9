"""The points of a sweep file: the one place where a sweep's parameters become runs, whoever runs them.

Grid: all combinations in the order of W&B's server, which sorts parameters by name; the last name varies fastest.
Random: point number i is drawn by a generator seeded with the sweep's id and i, so that a file gives the same points
everywhere, and a larger run_cap only adds to them. (W&B's server draws its own.)
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from core.options import nearest
from sweeps.wb.sweep_file import SweepFile, Where, kind

Point = dict[str, Any]
"""Value of each parameter, sorted by name."""
Spec = Mapping[str, Any]
LARGEST = 100_000
"""Most points of a sweep: all of them are looked at, again and again."""


def _uniform(spec: Spec, u: float) -> float:
    return float(spec["min"] + (spec["max"] - spec["min"]) * u)


def _log_uniform(spec: Spec, u: float) -> float:
    bounds = {key: math.log(spec[key]) for key in ("min", "max")}
    return float(min(max(math.exp(_uniform(bounds, u)), spec["min"]), spec["max"]))


def _quantized_log_uniform(spec: Spec, u: float) -> float:
    """The same, rounded to a multiple of q; whole numbers if q is one."""
    value = round(_log_uniform(spec, u) / spec["q"]) * spec["q"]
    return int(value) if isinstance(spec["q"], int) else value


DRAWS: dict[str, Callable[[Spec, float], Any]] = {
    "constant": lambda spec, u: spec["value"],
    "categorical": lambda spec, u: spec["values"][int(u * len(spec["values"]))],
    "int_uniform": lambda spec, u: int(spec["min"]) + int(u * (spec["max"] - spec["min"] + 1)),
    "uniform": _uniform,
    "log_uniform_values": _log_uniform,
    "q_log_uniform_values": _quantized_log_uniform,
}
"""The value at a quantile u in (0, 1), by W&B's names of distributions."""
KEYS = {"constant": ("value",), "categorical": ("values",)} | dict.fromkeys(list(DRAWS)[2:], ("min", "max"))
"""What a parameter of each must say; a quantized one may say its step q (1)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, and how its values are drawn."""

    name: str
    distribution: str
    spec: Spec

    def draw(self, u: float) -> Any:
        """Its value at a quantile."""
        return DRAWS[self.distribution](self.spec, u)


def parameters(file: SweepFile) -> list[Parameter]:
    """All parameters, sorted as W&B's server sorts them. Raises UserError with the line of what is wrong."""
    return [_parameter(file, name, spec) for name, spec in sorted(file.content["parameters"].items())]


def _parameter(file: SweepFile, name: str, spec: Any) -> Parameter:
    here = ("parameters", name)
    if not isinstance(spec, dict):
        key = "values" if isinstance(spec, list) else "value"
        said = f"parameter `{name}` must be a mapping, and it is {kind(spec)}; write {name}: {{{key}: {spec}}}"
        raise file.error(here, said)
    distribution = spec.get("distribution") or _implied(file, spec, here)
    if not isinstance(distribution, str) or distribution not in DRAWS:
        known = f"{nearest(str(distribution), DRAWS)} Here are {', '.join(DRAWS)}"
        raise file.error((*here, "distribution"), f"parameter `{name}`: unknown distribution {distribution!r}.{known}")
    steps = {"q": 1} if distribution.startswith("q_") else {}
    for key in spec:
        if key not in (*KEYS[distribution], *steps, "distribution"):
            said = f"`{key}` means nothing to {distribution}, which knows {', '.join(KEYS[distribution])}"
            raise file.error((*here, str(key)), f"parameter `{name}`: {said}")
    if missing := [key for key in KEYS[distribution] if key not in spec]:
        raise file.error(here, f"parameter `{name}`: {distribution} needs `{missing[0]}`")
    _check_values(file, distribution, spec, here)
    return Parameter(name, distribution, steps | spec)


def _implied(file: SweepFile, spec: Spec, here: Where) -> str:
    """The distribution of a parameter that names none, as W&B's client fills it in."""
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical"
    if "min" in spec and "max" in spec:
        whole = all(isinstance(_number(file, spec[key], (*here, key)), int) for key in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    raise file.error(here, f"parameter `{here[-1]}` needs `value`, `values`, `min` and `max`, or a `distribution`")


def _check_values(file: SweepFile, distribution: str, spec: Spec, here: Where) -> None:
    name = here[-1]
    low, high, step = (
        _number(file, spec[key], (*here, key)) if key in spec else usual
        for key, usual in (("min", 1), ("max", math.inf), ("q", 1))
    )
    if low > high:
        raise file.error(here, f"parameter `{name}`: min {low} is above max {high}")
    if "log" in distribution and (low <= 0 or step <= 0):
        raise file.error(here, f"parameter `{name}`: {distribution} needs a min above 0, and a q above 0")
    if distribution == "int_uniform" and not (isinstance(low, int) and isinstance(high, int)):
        raise file.error(here, f"parameter `{name}`: int_uniform needs whole numbers")
    if "values" in spec and not (isinstance(spec["values"], list) and spec["values"]):
        raise file.error((*here, "values"), f"parameter `{name}`: `values` must be a list of at least one value")


def _number(file: SweepFile, value: Any, where: Where) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    text = f"{value!r} is text to YAML; write it with a decimal point, e.g. 1.0e-4" if _looks_like_one(value) else ""
    raise file.error(where, f"parameter `{where[-2]}`: `{where[-1]}` must be a number. {text or f'It is {value!r}'}")


def _looks_like_one(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def points(file: SweepFile, count: int | None = None) -> list[Point]:
    """All points, in order; at most run_cap of the file and `count`.

    Raises UserError for a random sweep without either, which never ends, and for more points than LARGEST.
    """
    caps = [cap for cap in (file.content.get("run_cap"), count) if cap is not None]
    if file.method == "random":
        if not caps:
            raise file.error(("method",), "method random has no end; say how many points with `run_cap: N` in the file")
        count, found = _check_count(file, min(caps), ("run_cap",)), parameters(file)
        generators = (Random(f"{file.sweep_id}-{index}") for index in range(count))
        return [{each.name: each.draw(generator.random() or 0.5) for each in found} for generator in generators]
    found = parameters(file)
    choices = [_choices(file, parameter) for parameter in found]
    size = _check_count(file, min([math.prod(map(_size, choices)), *caps]), ("parameters",))
    rows = itertools.product(*(choice[:size] for choice in choices))
    return [dict(zip([p.name for p in found], row, strict=True)) for row in itertools.islice(rows, size)]


def _check_count(file: SweepFile, count: int, where: Where) -> int:
    if count > LARGEST:
        ways = "say how many with `run_cap: N` or --count N"
        raise file.error(where, f"these are {count:,} points, and at most {LARGEST:,} can be run; {ways}")
    return count


def _choices(file: SweepFile, parameter: Parameter) -> Sequence[Any]:
    """The values that a grid tries, as W&B's server takes them: none twice."""
    spec = parameter.spec
    if parameter.distribution == "constant":
        return [spec["value"]]
    if parameter.distribution == "categorical":
        first: dict[str, Any] = {}
        for value in spec["values"]:
            first.setdefault(_canonical(value), value)
        return list(first.values())
    if parameter.distribution == "int_uniform":
        return range(spec["min"], spec["max"] + 1)
    said = f"parameter `{parameter.name}`: a grid cannot go through {parameter.distribution}"
    raise file.error(("parameters", parameter.name), f"{said}; give `values`, or use method random")


def _size(choice: Sequence[Any]) -> int:
    """How many there are: `len` counts no range beyond 2^63."""
    return choice.stop - choice.start if isinstance(choice, range) else len(choice)


def _canonical(value: Any) -> str:
    """Text that is equal for values that are one to W&B: 4 and 4.0."""
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value, sort_keys=True)
