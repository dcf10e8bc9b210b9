"""What is learned: text -> tensors -> method -> text.

`from core import load_text, train` is the way in from a notebook (core/use.py).
"""

from typing import Any

from core import errors as errors  # first of all: in our commands Ctrl-C is one line from now on

_IN_USE = ("load_text", "train")


def __getattr__(name: str) -> Any:
    """The names of core/use.py, which brings in torch: only for those who ask for them."""
    if name in _IN_USE:
        from core import use

        return getattr(use, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
