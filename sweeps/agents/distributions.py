"""The distributions of W&B's sweeps: what a parameter of each may say, and its value at a quantile."""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Any

Spec = Mapping[str, Any]

REQUIRED = object()
BOUNDS = {"min": REQUIRED, "max": REQUIRED}
BELL = {"mu": 0.0, "sigma": 1.0}
BETA = {"a": 1.0, "b": 1.0}
STEP = {"q": 1.0}


def _between(low: float, high: float, u: float) -> float:
    return low + (high - low) * u


def _uniform(spec: Spec, u: float) -> float:
    return _between(spec["min"], spec["max"], u)


def _log_uniform(spec: Spec, u: float) -> float:
    """Bounds are exponents of e."""
    return math.exp(_uniform(spec, u))


def _log_uniform_values(spec: Spec, u: float) -> float:
    drawn = math.exp(_between(math.log(spec["min"]), math.log(spec["max"]), u))
    return float(min(max(drawn, spec["min"]), spec["max"]))


def _inv_log_uniform(spec: Spec, u: float) -> float:
    """1/x is log-uniform; bounds are exponents of e, of 1/x."""
    return math.exp(-_between(spec["min"], spec["max"], 1 - u))


def _normal(spec: Spec, u: float) -> float:
    return NormalDist(spec["mu"], spec["sigma"]).inv_cdf(u) if spec["sigma"] else float(spec["mu"])


def _beta(spec: Spec, u: float) -> float:
    return Random(repr(u)).betavariate(spec["a"], spec["b"])


def _int_uniform(spec: Spec, u: float) -> int:
    return int(spec["min"]) + int(u * (spec["max"] - spec["min"] + 1))


def _categorical(spec: Spec, u: float) -> Any:
    return spec["values"][int(u * len(spec["values"]))]


def _weighted(spec: Spec, u: float) -> Any:
    reached = itertools.accumulate(spec["probabilities"])
    total = sum(spec["probabilities"])
    return next((v for v, edge in zip(spec["values"], reached, strict=True) if u * total < edge), spec["values"][-1])


def _quantized(draw: Callable[[Spec, float], float]) -> Callable[[Spec, float], float]:
    """The same, rounded to a multiple of q; whole numbers if q is one."""

    def drawn(spec: Spec, u: float) -> float:
        value = round(draw(spec, u) / spec["q"]) * spec["q"]
        return int(value) if isinstance(spec["q"], int) else value

    return drawn


@dataclass(frozen=True)
class Distribution:
    """keys: what a parameter of it may say, with defaults. draw: the value at a quantile u in (0, 1)."""

    keys: Mapping[str, Any]
    draw: Callable[[Spec, float], Any]


DISTRIBUTIONS: dict[str, Distribution] = {
    "constant": Distribution({"value": REQUIRED}, lambda spec, u: spec["value"]),
    "categorical": Distribution({"values": REQUIRED}, _categorical),
    "categorical_w_probabilities": Distribution({"values": REQUIRED, "probabilities": REQUIRED}, _weighted),
    "int_uniform": Distribution(BOUNDS, _int_uniform),
    "uniform": Distribution(BOUNDS, _uniform),
    "q_uniform": Distribution(BOUNDS | STEP, _quantized(_uniform)),
    "log_uniform": Distribution(BOUNDS, _log_uniform),
    "log_uniform_values": Distribution(BOUNDS, _log_uniform_values),
    "q_log_uniform": Distribution(BOUNDS | STEP, _quantized(_log_uniform)),
    "q_log_uniform_values": Distribution(BOUNDS | STEP, _quantized(_log_uniform_values)),
    "inv_log_uniform": Distribution(BOUNDS, _inv_log_uniform),
    "inv_log_uniform_values": Distribution(BOUNDS, _log_uniform_values),
    "normal": Distribution(BELL, _normal),
    "q_normal": Distribution(BELL | STEP, _quantized(_normal)),
    "log_normal": Distribution(BELL, lambda spec, u: math.exp(_normal(spec, u))),
    "q_log_normal": Distribution(BELL | STEP, _quantized(lambda spec, u: math.exp(_normal(spec, u)))),
    "beta": Distribution(BETA, _beta),
    "q_beta": Distribution(BETA | STEP, _quantized(_beta)),
}
POSITIVE = ("log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values")
"""Those whose min must be above 0."""
