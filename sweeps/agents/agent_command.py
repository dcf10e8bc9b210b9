"""The command of a sweep's program: the macros that W&B documents, filled in for one point.

`${interpreter}` is the Python that runs the agent (W&B's own takes `python` from the PATH).
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from core.config import nearest
from sweeps.agents.sweep_file import SweepFile
from sweeps.agents.sweep_points import Point

USUAL = ("${env}", "${interpreter}", "${program}", "${args}")
VARIABLE = re.compile(r"\$\{envvar:([A-Za-z0-9_]*)\}")
MACRO = re.compile(r"\$\{([^}]*)\}")


def arguments(point: Point) -> dict[str, list[str]]:
    """The forms in which a point is put on a command line; a nested parameter is one argument."""
    pairs = [f"{name}={value}" for name, value in point.items()]
    switches = [(name, value) for name, value in point.items() if value is not False]
    return {
        "args": [f"--{pair}" for pair in pairs],
        "args_no_hyphens": pairs,
        "args_no_equals": [part for name, value in point.items() for part in (f"--{name}", str(value))],
        "args_no_boolean_flags": [f"--{n}" if v is True else f"--{n}={v}" for n, v in switches],
        "args_json": [json.dumps(point)],
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
    }


def command(file: SweepFile, point: Point, json_path: str) -> list[str]:
    """The command of a point. json_path: where its arguments lie as JSON.

    Raises UserError for an unknown macro and for an environment variable that is not set.
    """
    known: Mapping[str, list[str]] = {
        **arguments(point),
        "args_json_file": [json_path],
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "program": [str(file.content.get("program", ""))],
    }
    parts: list[str] = []
    for part in file.command or USUAL:
        part = VARIABLE.sub(lambda found: _variable(file, found[1]), part)
        found = MACRO.fullmatch(part)
        if found and found[1] not in known:
            raise file.error(("command",), f"unknown macro {part} in `command`.{nearest(found[1], list(known))}")
        parts += known[found[1]] if found else [part]
    return parts


def _variable(file: SweepFile, name: str) -> str:
    if name not in os.environ:
        raise file.error(("command",), f"${{envvar:{name}}} in `command`: {name} is not set in the environment")
    return os.environ[name]


def uses(file: SweepFile, macro: str) -> bool:
    """Whether the command has a macro."""
    return f"${{{macro}}}" in (file.command or USUAL)


def check(file: SweepFile, point: Mapping[str, Any]) -> None:
    """Raises UserError for a command that cannot be made, or a program that is not there."""
    command(file, dict(point), "")
    if uses(file, "program"):
        program = file.content.get("program")
        if not isinstance(program, str) or not program:
            raise file.error(("program",), "`program` is missing: the script to run, e.g. program: train.py")
        if not os.path.exists(program):
            raise file.error(("program",), f"program {program!r} is not there; it is looked for from {os.getcwd()}")
