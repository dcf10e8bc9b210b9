"""Functions that torch.compile makes faster: compiled with dynamic shapes, once a process, where a step asks for it."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

MADE: dict[Callable[..., Any], Callable[..., Any]] = {}
"""What was compiled in this process, by the function as it is written."""
_asked = False


@contextmanager
def compiled(wanted: bool = True) -> Iterator[None]:
    """Within it functions marked `compilable` run compiled."""
    global _asked
    before, _asked = _asked, wanted
    try:
        yield
    finally:
        _asked = before


def compilable(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which runs compiled within `compiled`, and as it is elsewhere."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _asked:
            return function(*args, **kwargs)
        if function not in MADE:
            MADE[function] = torch.compile(function, dynamic=True)
        found: R = MADE[function](*args, **kwargs)
        return found

    return call
