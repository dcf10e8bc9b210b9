"""A metric of the user's own, named as `module:function`: the module lies in the current folder or is installed.

    def function(hypotheses: list[str], references: list[list[str]], sources: list[str]) -> float | list[float]

references: those of each sentence. It returns the score of the whole, or one for each sentence, whose mean is the score
of the whole; higher is better. This is how COMET, BERTScore and others come in.
"""

import importlib
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import UserError


@dataclass(frozen=True)
class Own:
    """A metric: what it is called, where it comes from (`module:function`), and what to call."""

    name: str
    spec: str
    function: Callable[..., Any]

    @classmethod
    def named(cls, spec: str, name: str | None = None) -> "Own":
        """The metric of a spec `module:function`, under that name (none: the function's).

        Raises UserError if there is no such function, or its module cannot be imported.
        """
        module, sign, function = spec.partition(":")
        if not (sign and module and function):
            raise UserError(f"--metric {spec}: expected module:function, e.g. my_metrics:comet")
        name = function if name is None else name
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(f"--metric {spec}: the name {name!r} must be of letters, digits and . _ + -")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            found = getattr(importlib.import_module(module), function)
        except (Exception, SystemExit) as error:
            raise UserError(f"--metric {spec}: cannot be loaded ({_said(error)})") from error
        if not callable(found):
            raise UserError(f"--metric {spec}: {function} of {module} is no function")
        return cls(name, spec, found)

    def score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], sources: Sequence[str]
    ) -> tuple[float, list[float] | None]:
        """The score of all sentences, and that of each if the function gives them.

        Raises UserError for whatever the function raises, and for what it returns that are no such numbers.
        """
        try:
            found: Any = self.function(list(hypotheses), [list(group) for group in references], list(sources))
            found = list(found) if isinstance(found, Iterator) else found
        except (Exception, SystemExit) as error:
            raise UserError(f"--metric {self.spec}: failed ({_said(error)})") from error
        found = found.tolist() if hasattr(found, "tolist") else found
        try:
            each = [float(value) for value in found] if isinstance(found, Sequence) else None
            whole = float(found) if each is None else math.fsum(each) / max(len(each), 1)
        except (TypeError, ValueError) as error:
            kind = type(found).__name__
            raise UserError(f"--metric {self.spec}: gave {kind}, not a number or one for each sentence") from error
        if each is not None and len(each) != len(hypotheses):
            raise UserError(f"--metric {self.spec}: gave {len(each)} scores for {len(hypotheses)} sentences")
        if not all(map(math.isfinite, [whole, *(each or [])])):
            raise UserError(f"--metric {self.spec}: gave a score that is no finite number")
        return whole, each


def _said(error: BaseException) -> str:
    """An error in one line: its kind, what it says, and where it happened."""
    text = " ".join(str(error).split())[:300]
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename]
    theirs = [f", {os.path.basename(each.filename)} line {each.lineno}" for each in frames if each.filename != __file__]
    return f"{type(error).__name__}{': ' * bool(text)}{text}{theirs[-1] if theirs else ''}"
