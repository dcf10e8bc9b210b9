"""Options of a command line from a dataclass, by tyro; numbers and `none` in plain words."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

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
