"""Options of a command line from a dataclass, by tyro; numbers and `none` in plain words."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ablations import presets
from ablations.presets import Preset
from core.config import RunConfig, all_options, belongs_to, check_choice, unread
from core.errors import UserError
from core.options import parse_value

T = TypeVar("T")
Value = int | float | str | Path
_REGISTRY = ConstructorRegistry()


def read(kind: type[T], **how: Any) -> T:
    """The options of the command line as a `kind`; `how` is what tyro.cli takes. A wrong option ends the program."""
    with _REGISTRY:
        return tyro.cli(kind, **how)


def whole(text: str) -> int:
    """A whole number. Raises ValueError in words for the user."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def number(text: str) -> float:
    """A finite number. Raises ValueError in words for the user."""
    try:
        if math.isfinite(found := float(text)):
            return found
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a number")


READERS: dict[Any, tuple[str, Callable[[str], Value]]] = {
    int: ("INT", whole),
    float: ("FLOAT", number),
    int | None: ("INT", whole),
    float | None: ("FLOAT", number),
    str | None: ("STR", str),
    Path | None: ("PATH", Path),
}
"""The types that tyro's own messages and help treat like a programmer: what --help calls them, and who reads them."""


@_REGISTRY.primitive_rule
def _plain(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """tyro's rule for the types of READERS."""
    kind = next((each for each in READERS if each == info.type), None)
    if kind is None:
        return None
    word, reader = READERS[kind]

    def value(arguments: list[str]) -> Value | None:
        none = kind not in (int, float) and arguments[0].lower() == "none"
        return None if none else reader(arguments[0])

    def fits(default: Any) -> bool:
        return isinstance(default, kind) or (kind in (float, float | None) and isinstance(default, int))

    return PrimitiveConstructorSpec(1, word, value, fits, lambda default: [str(default)])


def start(arguments: Sequence[str], method: str) -> tuple[Preset, str, RunConfig]:
    """Preset, method and the options they start from, as a command line says. method: unless it says another.

    Raises UserError for an unknown one, and for options that this method does not read or whose word is no choice.
    """
    given = dict(given_pairs(arguments))
    preset = presets.get(given.get("preset", presets.default_for(given.get("data"))))
    method = given.get("method", method)
    config = preset.config_for(method, {name: parse_value(value) for name, value in given.items()})
    check_given(given, config)
    return preset, method, config


def check_given(given: Mapping[str, str], config: RunConfig) -> None:
    """Raises UserError on words that are no choice of their option, and on options that belong to another method."""
    known = all_options(config)
    for name, value in given.items():
        if name in known:
            check_choice(name, value, config)
        elif belongs_to(name):
            raise UserError(unread(name, config.method.name, known))


def given_pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """(name, value) of each '--name value' and '--name=value'."""
    split = [argument.partition("=") for argument in arguments]
    following = [*arguments[1:], ""][: len(arguments)]
    named = [(*part, after) for part, after in zip(split, following, strict=True) if part[0].startswith("--")]
    return [(name[2:].replace("-", "_"), value if sign else after) for name, sign, value, after in named]
