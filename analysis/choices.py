"""What is drawn of a study, chosen for all figures at once by who draws them."""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Choices:
    """arms: names of those drawn; panels: those drawn of figures that have them; either empty: all.

    note: what the numbers are worth, and what lines and bands are, stands in the picture too, not in its caption alone.
    """

    arms: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()
    note: bool = False


ALL = Choices()
_CHOSEN: ContextVar[Choices] = ContextVar("choices")


def chosen() -> Choices:
    """The choices that hold here."""
    return _CHOSEN.get(ALL)


@contextlib.contextmanager
def choosing(choices: Choices) -> Iterator[None]:
    """Within it these hold."""
    token = _CHOSEN.set(choices)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def is_named(panel: str, names: tuple[str, ...]) -> bool:
    """Whether a panel is among names, whole ("train/mse") or without what stands before the slash ("mse")."""
    return panel in names or panel.rpartition("/")[2] in names


def chosen_panels(panels: Mapping[str, str]) -> dict[str, str]:
    """Those of a figure's panels that are chosen; all where none of them is."""
    kept = {name: label for name, label in panels.items() if is_named(name, chosen().panels)}
    return kept or dict(panels)
