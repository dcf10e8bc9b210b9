"""A W&B sweep file of ours, read with the line of each key, and refused by name where our sweep cannot do what it asks.

`make wandb-sweep` writes such files; edited within reason they can be run too: other values, fewer points, method grid
or random, run_cap. What needs W&B's server (bayes, early_terminate and the like) is refused, and so are other programs.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from core import reading
from core.config import digest
from core.errors import UserError
from core.options import nearest
from core.reading import LONGEST_NUMBER, Unreadable
from sweeps.wb import limited_yaml

Where = tuple[str, ...]

KEYS = ("program", "method", "metric", "parameters", "command", "run_cap", "name", "description", "project", "entity")
SERVERS = ("early_terminate", "controller", "scheduler", "job", "image_uri", "metrics", "settings")
"""Keys that W&B's server understands."""
IDENTITY = ("method", "parameters", "program", "command")
"""What makes it another sweep. The name, the description and run_cap may change, and the sweep goes on."""
PROGRAM, MODULE = "sweeps/arm.py", "sweeps.arm"
"""How a sweep file names the program that runs arms of our studies."""
STARTS = ("${env}", "${interpreter}", "${program}", "${args}", "${args_no_hyphens}", "${args_json}", "python", "-m")
"""What else a command may have that just starts this program with the values of a point."""
YAML_TAG = "tag:yaml.org,2002:"
TAGS = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}
"""Kinds of values besides text, by what YAML calls them."""


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says. lines: where each key stands, by its path of keys."""

    path: Path
    content: Mapping[str, Any]
    lines: Mapping[Where, int] = field(default_factory=dict)

    def error(self, where: Where, message: str) -> UserError:
        """An error that names file and line; `where`: the keys down to the place."""
        while where not in self.lines and where:
            where = where[:-1]
        line = f":{self.lines[where]}" if where in self.lines else ""
        return UserError(f"{self.path}{line}: {message}")

    @cached_property
    def sweep_id(self) -> str:
        """Eight hexadecimal digits over what decides the runs: the sweep's id where no server gives one."""
        return digest({name: self.content.get(name) for name in IDENTITY})

    @property
    def method(self) -> str:
        """grid or random."""
        return str(self.content["method"])


def is_one(name: str) -> bool:
    """Whether the name of a study is the path of a sweep file."""
    return name.endswith((".yaml", ".yml"))


def load(path: Path) -> SweepFile:
    """Read and check a sweep file. Raises UserError naming file and line for all that is wrong or not supported."""
    try:
        text = reading.content(path, limited_yaml.LARGEST).decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a sweep file (YAML)") from error
    except Unreadable as error:
        raise UserError(f"{path}: {error}; name a sweep file (YAML)") from error
    except ValueError as error:
        raise UserError(f"{path}: is not text; name a sweep file (YAML)") from error
    file = parse(path, text)
    check_program(file)
    check(file)
    return file


def parse(path: Path, text: str) -> SweepFile:
    """The content of YAML text with its lines, not checked yet."""
    try:
        loader = limited_yaml.LimitedLoader(text)
        node = loader.get_single_node()
        lines = _lines(path, node)
        content = None if node is None else loader.construct_document(node)
        json.dumps(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML ({error.problem or error.context})") from error
    except yaml.reader.ReaderError as error:
        before = text.count("\n", 0, error.position)
        raise UserError(f"{path}:{before + 1}: not YAML (the character #{error.character:04x})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}:1: a sweep file is a mapping with `method` and `parameters`; this is {kind(content)}")
    return SweepFile(path, content, lines)


def _lines(path: Path, node: Any) -> dict[Where, int]:
    """The line of every key.

    Raises UserError for a key that is there twice, of which YAML would silently take the last, and for what is neither
    text nor number, or cannot be written to a file.
    """
    lines: dict[Where, int] = {}
    for where, here in _nodes(node, (), set()):
        line = here.start_mark.line + 1
        if said := _unfit(here, is_key=bool(where)):
            raise UserError(f"{path}:{line}: {said}")
        if where in lines:
            raise UserError(f"{path}:{line}: `{where[-1]}` stands on line {lines[where]} already")
        lines |= {where: line} if where else {}
    return lines


def _nodes(node: Any, above: Where, seen: set[int]) -> Iterator[tuple[Where, Any]]:
    """All keys with their paths, and all other nodes with none; what is there again by an alias only once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    yield (), node
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _nodes(item, (*above, f"[{index}]"), seen)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            where = (*above, str(getattr(key, "value", "?")))
            yield where, key
            yield from _nodes(value, where, seen)


def _unfit(node: Any, is_key: bool) -> str:
    """What is wrong with a node; nothing if it is fine."""
    tag = str(node.tag).removeprefix(YAML_TAG)
    if is_key and tag not in ("str", "merge"):
        return f"`{node.value}` is {TAGS[tag]} to YAML; put it in quotes" if tag in TAGS else "a key must be text"
    if tag not in (*TAGS, "str", "merge", "seq", "map"):
        return f"a value is neither text nor number ({tag}); put dates in quotes"
    if tag in ("int", "float") and len(node.value) > LONGEST_NUMBER:
        return f"a number of {len(node.value):,} characters"
    if tag in ("bool", "int", "float") and not _is_of_its_kind(node):
        return f"`{node.value}` is not {TAGS[tag]}, as its tag !!{tag} says"
    if isinstance(node, yaml.ScalarNode) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in node.value):
        return "a character that no command line can hold"
    return ""


def _is_of_its_kind(node: Any) -> bool:
    """Whether a value is what its tag says."""
    try:
        yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError, TypeError, yaml.YAMLError):
        return False
    return True


def kind(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing"
    if value in ("", [], {}):
        return "empty"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def check(file: SweepFile) -> None:
    """Raises UserError for the first thing that is wrong or not supported; sweep_points.py checks the parameters."""
    for key in file.content:
        if key in SERVERS:
            raise file.error((key,), f"`{key}` needs W&B's server; remove it, or run the file by `wandb agent`")
        if key not in KEYS:
            raise file.error((str(key),), f"unknown key `{key}`.{nearest(str(key), KEYS)}")
    method = file.content.get("method")
    if method in ("bayes", "custom"):
        ways = "use grid or random here, register it for `wandb agent`, or tune with `make search`"
        raise file.error(("method",), f"method `{method}` needs W&B's server to choose the points; {ways}")
    if method not in ("grid", "random"):
        raise file.error(("method",), f"`method` must be grid or random; it is {method!r}")
    for key in ("project", "entity"):
        if isinstance(value := file.content.get(key), bool | list | dict):
            raise file.error((key,), f"`{key}` must be text; it is {kind(value)}")
    if isinstance(metric := file.content.get("metric"), dict) and "target" in metric:
        raise file.error(("metric", "target"), "`target` needs W&B's server (here all points are run); remove it")
    parameters = file.content.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise file.error(("parameters",), f"`parameters` must be a mapping, name by name; it is {kind(parameters)}")
    cap = file.content.get("run_cap", 1)
    if not isinstance(cap, int) or isinstance(cap, bool) or cap < 1:
        raise file.error(("run_cap",), f"`run_cap` must be a whole number, at least 1; it is {cap!r}")


def check_program(file: SweepFile) -> None:
    """Raises UserError unless its program is ours, and its command adds nothing: our sweep starts no program."""
    program, command = str(file.content.get("program", "")), file.content.get("command") or []
    if not isinstance(command, list):
        raise file.error(("command",), f"`command` must be a list; it is {kind(command)}")
    if not program.endswith(PROGRAM) and MODULE not in command:
        said = f"its program is not {PROGRAM}, so its points are no runs of this suite; `wandb agent` with a server"
        raise file.error(("program",), f"{said} runs it")
    for part in command:
        if part not in (*STARTS, MODULE) and not str(part).endswith(PROGRAM):
            said = f"`command` does more than start {PROGRAM} ({part}); an option belongs into `parameters`"
            raise file.error(("command",), said)
