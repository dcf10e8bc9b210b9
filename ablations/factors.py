"""A factor: its levels, and the options each level sets. The only place where a toggle becomes a configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from core import methods
from core.errors import UserError
from core.options import nearest
from core.sections import Schedule

Level = bool | int | float | str


@dataclass(frozen=True)
class Factor:
    """A named choice. levels: level -> {option: value}. short: level -> its part of an arm's name."""

    name: str
    levels: Mapping[Level, Mapping[str, Any]]
    short: Mapping[Level, str]


def _switch(name: str, on: Mapping[str, Any], off: Mapping[str, Any], short: tuple[str, str]) -> Factor:
    return Factor(name, {True: on, False: off}, {True: short[0], False: short[1]})


def _choice(name: str, option: str, levels: tuple[Level, ...], prefix: str = "") -> Factor:
    return Factor(name, {v: {option: v} for v in levels}, {v: f"{prefix}{v}" for v in levels})


FACTORS: dict[str, Factor] = {
    factor.name: factor
    for factor in (
        _switch("anchor_loss", {"token_loss": "anchor"}, {"token_loss": "rounding"}, ("anchor", "rounding")),
        _switch("embedding_norm", {"embedding_norm": "latent"}, {"embedding_norm": "none"}, ("norm", "nonorm")),
        _choice("noise_factor", "noise_factor", (1.0, 2.0, 3.0, 4.0, 6.0, 8.0), "F"),
        Factor(
            "token_loss",
            {
                "anchor": {"token_loss": "anchor"},
                "rounding": {"token_loss": "rounding"},
                "none": {"token_loss": "none"},
                "frozen": {"token_loss": "anchor", "frozen_embedding": True},
            },
            {"anchor": "anchor", "rounding": "rounding", "none": "none", "frozen": "anchor-frozen-table"},
        ),
        _choice("norm_placement", "embedding_norm", ("none", "latent", "decoder_input"), "norm-"),
        _choice("schedule", "schedule", get_args(Schedule)),
        Factor(
            "steps",
            {k: {"decoding_steps": k, "early_stop": k // 4} for k in (2, 5, 10, 20, 50, 100)},
            {k: f"K{k}" for k in (2, 5, 10, 20, 50, 100)},
        ),
        _choice("self_conditioning", "self_conditioning", (True, False), "selfcond-"),
        _choice("method", "method", (methods.DEFAULT, *(name for name in methods.names() if name != methods.DEFAULT))),
        _choice("decoding_noise_factor", "decoding_noise_factor", (0.5, 1.0, 2.0, 4.0), "Fdec"),
        _choice("sampler", "sampler", ("ancestral", "ddim", "dpm_solver", "cedi")),
        Factor(
            "network_calls",
            {n: {"decoding_steps": n, "early_stop": 0} for n in (2, 5, 10, 20)},
            {n: f"{n}calls" for n in (2, 5, 10, 20)},
        ),
    )
}


def factor(name: str) -> Factor:
    """The factor of that name. Raises UserError naming the nearest."""
    if name not in FACTORS:
        raise UserError(f"unknown factor {name!r}.{nearest(name, FACTORS)}")
    return FACTORS[name]


def options_of(toggles: Mapping[str, Level]) -> dict[str, Any]:
    """The options that a combination of levels sets. Raises UserError on an unknown factor or level."""
    values: dict[str, Any] = {}
    for name, level in toggles.items():
        levels = factor(name).levels
        if level not in levels:
            raise UserError(
                f"factor {name}: {level!r} is no level of it.{nearest(str(level), [str(v) for v in levels])}"
            )
        values |= levels[level]
    return values
