"""The points of a sweep file: the one place where a sweep's parameters become runs, whoever runs them.

Grid: all combinations in the order of W&B's server, which sorts parameters by name (nested ones within their parent);
the last name varies fastest. Random: point number i is drawn by a generator seeded with the sweep's id and i, so that a
file gives the same points everywhere, and a larger run_cap only adds to them. (W&B's server draws its own.)
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from core.config import nearest
from sweeps.agents.distributions import DISTRIBUTIONS, POSITIVE, REQUIRED, Spec
from sweeps.agents.sweep_file import NAME, SweepFile, Where, kind

Point = dict[str, Any]
"""Value of each parameter, sorted by name; a nested parameter is a mapping."""
LARGEST = 100_000
"""Most points of a sweep: an agent looks at all of them, again and again."""


# Parameters


@dataclass(frozen=True)
class Parameter:
    """One parameter, however deep; where: its names from the top."""

    where: Where
    distribution: str
    spec: Spec

    def drawn(self, u: float) -> Any:
        """Its value at a quantile."""
        return DISTRIBUTIONS[self.distribution].draw(self.spec, u)


def parameters(file: SweepFile) -> list[Parameter]:
    """All parameters, sorted as W&B's server sorts them. Raises UserError with the line of what is wrong."""
    return list(_flattened(file, file.content["parameters"], ("parameters",), ()))


def _flattened(file: SweepFile, level: Mapping[Any, Any], place: Where, names: Where) -> Iterator[Parameter]:
    for name in sorted(level, key=str):
        here, spec = (*place, str(name)), level[name]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise file.error(here, f"{name!r} cannot be a parameter: letters, digits, _ . and - only, no digit first")
        if not isinstance(spec, dict):
            key = "values" if isinstance(spec, list) else "value"
            said = f"parameter `{name}` must be a mapping, and it is {kind(spec)}; write {name}: {{{key}: {spec}}}"
            raise file.error(here, said)
        if "parameters" in spec:
            yield from _nested(file, spec, here, (*names, name))
        else:
            yield _parameter(file, spec, here, (*names, name))


def _nested(file: SweepFile, spec: dict[str, Any], here: Where, names: Where) -> Iterator[Parameter]:
    if len(spec) > 1 or not isinstance(spec["parameters"], dict) or not spec["parameters"]:
        raise file.error(here, f"parameter `{names[-1]}`: `parameters` must be a mapping and stand alone")
    return _flattened(file, spec["parameters"], (*here, "parameters"), names)


def _parameter(file: SweepFile, spec: dict[str, Any], here: Where, names: Where) -> Parameter:
    name = here[-1]
    distribution = spec.get("distribution") or _implied(file, spec, here)
    if not isinstance(distribution, str) or distribution not in DISTRIBUTIONS:
        known = nearest(str(distribution), DISTRIBUTIONS)
        raise file.error((*here, "distribution"), f"parameter `{name}`: unknown distribution {distribution!r}.{known}")
    keys = DISTRIBUTIONS[distribution].keys
    for key in spec:
        if key not in keys and key != "distribution":
            said = f"`{key}` means nothing to {distribution}, which knows {', '.join(keys)}"
            raise file.error((*here, str(key)), f"parameter `{name}`: {said}")
    missing = [key for key, default in keys.items() if default is REQUIRED and key not in spec]
    if missing:
        raise file.error(here, f"parameter `{name}`: {distribution} needs `{missing[0]}`")
    full = {key: spec.get(key, default) for key, default in keys.items()}
    _check_values(file, distribution, full, here)
    return Parameter(names, distribution, full)


def _implied(file: SweepFile, spec: dict[str, Any], here: Where) -> str:
    """The distribution of a parameter that names none, as W&B's client fills it in."""
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical_w_probabilities" if "probabilities" in spec else "categorical"
    if "min" in spec and "max" in spec:
        bounds = [_number(file, spec[key], (*here, key)) for key in ("min", "max")]
        return "int_uniform" if all(isinstance(bound, int) for bound in bounds) else "uniform"
    raise file.error(here, f"parameter `{here[-1]}` needs `value`, `values`, `min` and `max`, or a `distribution`")


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


def _check_values(file: SweepFile, distribution: str, spec: Spec, here: Where) -> None:
    name = here[-1]
    for key in ("min", "max", "mu", "sigma", "a", "b", "q"):
        if key in spec:
            _number(file, spec[key], (*here, key))
    if "min" in spec and spec["min"] > spec["max"]:
        raise file.error(here, f"parameter `{name}`: min {spec['min']} is above max {spec['max']}")
    if distribution in POSITIVE and spec["min"] <= 0:
        raise file.error((*here, "min"), f"parameter `{name}`: {distribution} needs a min above 0")
    if distribution == "int_uniform" and not all(isinstance(spec[key], int) for key in ("min", "max")):
        raise file.error(here, f"parameter `{name}`: int_uniform needs whole numbers")
    if spec.get("sigma", 0) < 0 or any(spec.get(key, 1) <= 0 for key in ("a", "b", "q")):
        raise file.error(here, f"parameter `{name}`: sigma may not be below 0; a, b and q must be above 0")
    if "values" in spec and not (isinstance(spec["values"], list) and spec["values"]):
        raise file.error((*here, "values"), f"parameter `{name}`: `values` must be a list of at least one value")
    if "probabilities" in spec:
        _check_probabilities(file, spec, here)


def _check_probabilities(file: SweepFile, spec: Spec, here: Where) -> None:
    given = spec["probabilities"]
    numbers = isinstance(given, list) and all(isinstance(p, int | float) and p >= 0 for p in given)
    if not numbers or len(given) != len(spec["values"]) or not math.isclose(sum(given), 1.0, abs_tol=1e-6):
        said = "`probabilities` must be one number for each of `values`, with a sum of 1"
        raise file.error((*here, "probabilities"), f"parameter `{here[-1]}`: {said}")


# Points


def points(file: SweepFile, count: int | None = None) -> list[Point]:
    """All points, in order; at most run_cap of the file and `count`.

    Raises UserError for a random sweep without either, which never ends, and for more points than LARGEST.
    """
    caps = [cap for cap in (file.content.get("run_cap"), count) if cap is not None]
    if file.method == "grid":
        return grid(file, caps)
    if not caps:
        raise file.error(("method",), "method random has no end; say how many points with `run_cap: N` in the file")
    return [random_point(file, index) for index in range(_bearable(file, min(caps), ("run_cap",)))]


def _bearable(file: SweepFile, count: int, where: Where) -> int:
    if count > LARGEST:
        ways = "say how many with `run_cap: N` or --count N"
        raise file.error(where, f"these are {count:,} points, and at most {LARGEST:,} can be run; {ways}")
    return count


def grid(file: SweepFile, caps: Sequence[int] = ()) -> list[Point]:
    """All combinations, none twice; the first ones, if there is a cap."""
    found = parameters(file)
    choices = [_choices(file, parameter) for parameter in found]
    count = min([math.prod(len(choice) for choice in choices), *caps])
    rows = itertools.product(*(choice[: _bearable(file, count, ("parameters",))] for choice in choices))
    names = [parameter.where for parameter in found]
    return [nested(zip(names, row, strict=True)) for row in itertools.islice(rows, count)]


def _choices(file: SweepFile, parameter: Parameter) -> Sequence[Any]:
    """The values that a grid tries, as W&B's server takes them."""
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
    if parameter.distribution == "q_uniform":
        return _steps(spec)
    where = tuple(key for name in parameter.where for key in ("parameters", name))
    said = f"parameter `{parameter.where[-1]}`: a grid cannot go through {parameter.distribution}"
    raise file.error(where, f"{said}; give `values`, or use method random")


def _steps(spec: Spec) -> list[float]:
    """From min on in steps of q, max left out: to the last bit the numbers of numpy.arange, which W&B's server has."""
    first, step = spec["min"], (spec["min"] + spec["q"]) - spec["min"]
    count = math.ceil((spec["max"] - spec["min"]) / spec["q"])
    return [first + i * step for i in range(min(count, LARGEST + 1))]


def _canonical(value: Any) -> str:
    """Text that is equal for values that are one to W&B: 4 and 4.0."""
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value, sort_keys=True)


def random_point(file: SweepFile, index: int) -> Point:
    """Point number `index` of a random sweep."""
    generator = Random(f"{file.sweep_id}-{index}")
    return nested((parameter.where, parameter.drawn(_open(generator))) for parameter in parameters(file))


def _open(generator: Random) -> float:
    """Uniform in (0, 1): some quantiles at 0 are infinite."""
    return generator.random() or 0.5


def nested(values: Any) -> Point:
    """(names, value) pairs as mappings in mappings."""
    point: Point = {}
    for where, value in values:
        level = point
        for name in where[:-1]:
            level = level.setdefault(name, {})
        level[where[-1]] = value
    return point
