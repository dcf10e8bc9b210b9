"""Who is told how far a piece of work is: the display of a command, or nobody.

Work says what begins (`stage`) and goes through its pieces by `each`; it need not know who watches. A command puts its
display (core/display.py) in place by `watched_by`. From Python, in the workers of a sweep and in all ranks of a run but
the first nobody watches.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Watcher(Protocol):
    """Is told how far a piece of work is."""

    def stage(self, name: str) -> None:
        """Something begins, such as "validating"."""

    def reached(self, done: int, total: int, *facts: str, left: float | None = None) -> None:
        """So many pieces of the stage are done. facts: what else to show, the most important first.

        left: seconds that the rest will take; None = as those done took.
        """

    def say(self, text: str) -> None:
        """A line that stays."""


class Nobody:
    """Is told, and does nothing."""

    def stage(self, name: str) -> None:
        pass

    def reached(self, done: int, total: int, *facts: str, left: float | None = None) -> None:
        pass

    def say(self, text: str) -> None:
        pass


_watcher: ContextVar[Watcher] = ContextVar("watcher", default=Nobody())  # noqa: B039 (it has no state)


def watcher() -> Watcher:
    """Who watches now."""
    return _watcher.get()


@contextlib.contextmanager
def watched_by(one: Watcher) -> Iterator[None]:
    """Within it `one` is told."""
    token = _watcher.set(one)
    try:
        yield
    finally:
        _watcher.reset(token)


def stage(name: str) -> None:
    """Tell who watches that something begins."""
    watcher().stage(name)


def one_piece(item: object) -> int:
    """Each item counts as one."""
    return 1


def each(items: Iterable[T], total: int, size: Callable[[T], int] = one_piece) -> Iterator[T]:
    """The items; after each, who watches is told how many pieces of the stage are done. size: pieces in an item."""
    done = 0
    for item in items:
        yield item
        done += size(item)
        watcher().reached(min(done, total), total)
