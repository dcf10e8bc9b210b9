"""Options of a command line from a dataclass, by tyro; numbers and `none` in plain words."""

import math
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

T = TypeVar("T")
NUMBERS: dict[Any, tuple[type[int] | type[float], bool]] = {
    int: (int, False),
    int | None: (int, True),
    float: (float, False),
    float | None: (float, True),
}
"""The types of numeric options: what is read, and whether it may be none."""
WORDS = {int: "a whole number", float: "a number"}
_REGISTRY = ConstructorRegistry()


def read(kind: type[T], **how: Any) -> T:
    """The options of the command line as a `kind`; `how` is what tyro.cli takes. A wrong option ends the program."""
    with _REGISTRY:
        return tyro.cli(kind, **how)


@_REGISTRY.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """tyro's rule for numbers, whose own messages speak of types and literals."""
    if (found := next((NUMBERS[each] for each in NUMBERS if each == info.type), None)) is None:
        return None
    kind, optional = found

    def value(arguments: list[str]) -> int | float | None:
        if optional and arguments[0].lower() == "none":
            return None
        try:
            number = kind(arguments[0])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{arguments[0]!r} is not {WORDS[kind]}")
        return number

    def fits(default: Any) -> bool:
        return isinstance(default, int | kind) or (optional and default is None)

    return PrimitiveConstructorSpec(1, kind.__name__.upper(), value, fits, lambda default: [str(default)])
