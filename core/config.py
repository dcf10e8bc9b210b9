"""The configuration of a run: one arm with one seed, all that decides its result but for the machine.

core/sections.py documents the options; which of them a run has, says its method.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core import methods
from core.errors import UserError
from core.options import MethodOptions, annotation_of, as_before, check_word, checked, nearest, replaced, values_of
from core.sections import DataConfig, TrainingConfig


@dataclass(frozen=True)
class RunConfig:
    """One arm with one seed: all that decides its result, but for the machine."""

    method: MethodOptions = field(default_factory=lambda: methods.options(methods.DEFAULT))
    """The method, with its own options."""
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 1
    """Seed of the weights, the batches, and all that is drawn in training."""


PATHS = ("data",)
"""Options that say where, not what: never part of a run's identity."""


def flat(config: RunConfig) -> dict[str, Any]:
    """The options of a run as one mapping name -> value: what is recorded, and what its identity is made of.

    An option that was added later is left out while it is at the value that means "as before"; so is the method, which
    has not always been an option.
    """
    named = {} if config.method.name == methods.DEFAULT else {"method": config.method.name}
    return named | values_of(config)


def all_options(config: RunConfig) -> dict[str, Any]:
    """The same with nothing left out."""
    return {"method": config.method.name} | values_of(config, all_of_them=True)


def with_values(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The config with some options set by their flat names.

    Another `method` keeps the options that both methods have and that are not at the default of the one before: its own
    defaults hold where nothing was chosen. Raises UserError on an option that the method does not read, on an unknown
    name (naming the nearest), and on a value outside its type or choices.
    """
    method = values.get("method", config.method.name)
    if method != config.method.name:
        options, usual = methods.options(checked("method", method, str)), type(config.method)()
        before, defaults = (values_of(each, all_of_them=True) for each in (config.method, usual))
        chosen = {name: value for name, value in before.items() if value != defaults[name]}
        config = dataclasses.replace(config, method=replaced(options, chosen))
    known = all_options(config)
    for name in values:
        if name not in known:
            raise UserError(unread(name, config.method.name, known))
    return replaced(config, values)


def recorded(values: Mapping[str, Any]) -> RunConfig:
    """The config that `flat` made these values of: what they leave out is at the value that means "as before".

    Raises UserError as `with_values` does.
    """
    base = with_values(RunConfig(), {"method": values.get("method", methods.DEFAULT)})
    return with_values(replaced(base, as_before(base)), values)


def decoding_names(method: str | None = None) -> frozenset[str]:
    """The options of a method (none: the default one) that a trained model does not depend on."""
    decoding = getattr(methods.options(method or methods.DEFAULT), "decoding", None)
    return frozenset() if decoding is None else frozenset(values_of(decoding, all_of_them=True))


def belongs_to(name: str) -> list[str]:
    """The methods that have an option of that name."""
    return [each for each in methods.names() if name in values_of(methods.options(each), all_of_them=True)]


def unread(name: str, method: str, known: Mapping[str, Any]) -> str:
    """Why an option cannot be set: other methods read it, or it is unknown."""
    if others := belongs_to(name):
        return f"option {name}: method {method} does not read it; it belongs to {', '.join(others)}"
    return f"unknown option {name!r}.{nearest(name, known)}"


def check_choice(name: str, text: str, config: RunConfig) -> None:
    """Raises UserError naming the nearest choice if an option has choices and the text is none of them."""
    check_word(name, text, annotation_of(config, name))


def digest(values: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name a mapping's content (paths left out)."""
    kept = {k: v for k, v in values.items() if k not in PATHS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def width_of(config: RunConfig) -> int:
    """The width of the method's network; 0 for a method that says none."""
    return int(getattr(getattr(config.method, "network", None), "model_dim", 0))
