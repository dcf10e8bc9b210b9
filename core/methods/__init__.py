"""Generative methods, one file each; method.py says what the harness asks of one.

A method is a file NAME.py here. It holds `Options`, the method's options, and ends with `METHOD`, the method itself.
Options may stand in NAME_options.py instead, so that commands know them without importing torch, which takes seconds;
beside them AS_RELEASED, the released recipe as options of a run, if there is one, and FORMS, those of other released
forms, each by the option and value that choose it: {("form", "mask_predict"): {...}}.
"""

import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.options import MethodOptions, nearest

if TYPE_CHECKING:
    from core.methods.method import Method

DEFAULT = "difformer"
"""The method of a run that names none."""


@lru_cache
def names() -> tuple[str, ...]:
    """All methods there are."""
    files = [module.name for module in pkgutil.iter_modules(__path__)]
    return tuple(name for name in files if name != "method" and not name.endswith("_options"))


@lru_cache
def _options_file(name: str) -> Any:
    """The module with a method's options. Raises UserError naming the nearest method."""
    if name not in names():
        raise UserError(f"unknown method {name!r}.{nearest(name, names())}")
    apart = f"{__name__}.{name}_options"
    return import_module(apart if find_spec(apart) else f"{__name__}.{name}")


@lru_cache
def options(name: str) -> MethodOptions:
    """A method's options at their defaults. Raises UserError naming the nearest method."""
    made: MethodOptions = _options_file(name).Options()
    return made


def forms(name: str) -> Mapping[tuple[str, Any], dict[str, Any]]:
    """The recipes of a method's other released forms, each by the option and value that choose it."""
    found: Mapping[tuple[str, Any], dict[str, Any]] = getattr(_options_file(name), "FORMS", {})
    return found


def released(name: str, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The released recipe of a method: AS_RELEASED beside its options, or that of the form that some options choose.

    Raises UserError for a method without one.
    """
    for (option, value), recipe in forms(name).items():
        if chosen and chosen.get(option) == value:
            return recipe
    found: dict[str, Any] | None = getattr(_options_file(name), "AS_RELEASED", None)
    if found is None:
        place = f"core/methods/{_options_file(name).__name__.rpartition('.')[2]}.py"
        raise UserError(f"method {name} has no released recipe: write AS_RELEASED in {place}, or take another preset")
    return found


def method_for(options: MethodOptions) -> "Method[Any]":
    """The method with these options (imports torch)."""
    made: Method[Any] = import_module(f"{__name__}.{options.name}").METHOD(options)
    return made
