"""What the stand-in knows, and the table of GraphQL operations that it answers."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ENTITY, PROJECT = "local", "stub"
KEY = "0123456789" * 4
"""A key of the length that the client insists on."""

Answer = Callable[["Backend", dict[str, Any], str], dict[str, Any]]
OPERATIONS: dict[str, Answer] = {}


def operation(*names: str) -> Callable[[Answer], Answer]:
    """Enter a function as the answer to GraphQL operations of these names."""

    def enter(answer: Answer) -> Answer:
        OPERATIONS.update(dict.fromkeys(names, answer))
        return answer

    return enter


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Backend:
    """Everything the clients told the server, by id, for tests to look at.

    runs: {"config", "summary", "history", "exitcode", "groupName", ...}; files: (run, name) -> content; calls: how
    often each operation was asked for; unknown: what could not be answered (a test should find it empty).
    """

    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    answering: threading.Event = field(default_factory=_set)
    calls: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    projects: set[str] = field(default_factory=set)

    def graphql(self, name: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to an operation. Raises KeyError for one that nobody has written yet."""
        self.calls[name] += 1
        if name not in OPERATIONS:
            raise KeyError(f"the stand-in has no answer for {name or query[:80]}")
        return OPERATIONS[name](self, variables, query)

    def run(self, name: str) -> dict[str, Any]:
        """The run of that id, made if it is new."""
        return self.runs.setdefault(name, {"history": [], "summary": {}, "config": {}})
