"""Functions that torch.compile makes faster: compiled with dynamic shapes, once a process, where a step asks for it."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

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
    made: Callable[P, R] | None = None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal made
        if not _asked:
            return function(*args, **kwargs)
        if made is None:
            made = torch.compile(function, dynamic=True)
        return made(*args, **kwargs)

    return call
