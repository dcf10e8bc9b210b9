"""Optional packages: imported when they are needed; who misses one is told what to install."""

import importlib
from importlib.metadata import version
from typing import Any

from core.errors import UserError


def need(module: str, package: str, what: str, oldest: tuple[int, ...] = ()) -> Any:
    """The module. Raises UserError if its package is missing, broken, or older than the oldest version that will do.

    what: what needs it, such as "the dashboard".
    """
    install = f"python -m pip install {package} (or `make setup`)"
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0] == module.partition(".")[0]
        state = "not installed" if missing else f"not usable here ({error})"  # it may miss something itself
        raise UserError(f"{what} needs {package}, which is {state}: {install}") from error
    has = version(package) if oldest else ""
    if tuple(int(part) for part in has.split(".")[:3] if part.isdigit()) < oldest:
        wanted = ".".join(map(str, oldest))
        raise UserError(f"{what} needs {package} {wanted} or later, and {has} is installed: {install}")
    return found
