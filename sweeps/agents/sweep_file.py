"""A W&B sweep file, read with the line of each key, and refused by name where our engines cannot do what it asks.

What W&B documents and we run: methods grid and random, all distributions, nested parameters, run_cap, command with its
macros. Refused: bayes (it needs W&B's server), early_terminate and metric.target (so does stopping), launch jobs,
controllers and schedulers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from core.config import digest, nearest
from core.errors import UserError

Where = tuple[str, ...]

KEYS = ("program", "method", "metric", "parameters", "command", "run_cap", "name", "description", "project", "entity")
TEXTS = ("program", "name", "description", "project", "entity")
IGNORED = ("apiVersion", "kind")
REFUSED = {
    "early_terminate": "stopping runs early is done by W&B's server; remove it (every run then goes to its end)",
    "controller": "a controller needs W&B's server; remove it",
    "scheduler": "a scheduler needs W&B's server; remove it",
    "job": "launch jobs need W&B's server; name a `program`",
    "image_uri": "launch jobs need W&B's server; name a `program`",
    "metrics": "several metrics need W&B's server; give one `metric`",
    "settings": "settings of this kind are not supported; set them in the environment or in the program",
}
METRIC = ("name", "goal", "impute", "impute_while_running")
IDENTITY = ("method", "parameters", "program", "command")
"""What makes it another sweep. The name, the description and run_cap may change, and the sweep goes on."""
PROGRAMS = ("sweeps/arm.py", "sweeps.arm")
"""How a sweep file names the program that runs arms of our studies."""
YAML_TAG = "tag:yaml.org,2002:"
TAGS = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}
"""Kinds of values besides text, by what YAML calls them."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


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

    @property
    def command(self) -> list[str] | None:
        """The command template, none = W&B's usual one."""
        given = self.content.get("command")
        return None if given is None else [str(part) for part in given]

    @property
    def of_arms(self) -> bool:
        """Whether the sweep's points are arms of our studies."""
        return any(part.endswith(PROGRAMS) for part in (str(self.content.get("program", "")), *(self.command or ())))


def is_one(name: str) -> bool:
    """Whether the name of a study is the path of a sweep file."""
    return name.endswith((".yaml", ".yml"))


def load(path: Path) -> SweepFile:
    """Read and check a sweep file. Raises UserError naming file and line for all that is wrong or not supported."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a sweep file (YAML)") from error
    except ValueError as error:
        raise UserError(f"{path}: is not text; name a sweep file (YAML)") from error
    file = parse(path, text)
    check(file)
    return file


# YAML


def parse(path: Path, text: str) -> SweepFile:
    """The content of YAML text with its lines, not checked yet."""
    try:
        lines = _lines(path, yaml.compose(text, yaml.SafeLoader))
        content = yaml.safe_load(text)
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
    text nor number, or cannot be on a command line.
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
    if isinstance(node, yaml.ScalarNode) and ("\0" in node.value or _is_broken(node.value)):
        return "a character that no command line can hold"
    return ""


def _is_broken(text: str) -> bool:
    """Whether text has half a character (a lone surrogate)."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def kind(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing"
    if value in ("", [], {}):
        return "empty"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


# Checks


def check(file: SweepFile) -> None:
    """Raises UserError for the first thing that is wrong or not supported; sweep_points.py checks the parameters."""
    for key in file.content:
        if key in REFUSED:
            raise file.error((key,), f"`{key}` is not supported without W&B's server: {REFUSED[key]}")
        if key not in (*KEYS, *IGNORED):
            raise file.error((str(key),), f"unknown key `{key}`.{nearest(str(key), KEYS)}")
    _check_method(file)
    _check_metric(file)
    _check_texts(file)
    parameters = file.content.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise file.error(("parameters",), f"`parameters` must be a mapping, name by name; it is {kind(parameters)}")
    cap = file.content.get("run_cap", 1)
    if not isinstance(cap, int) or isinstance(cap, bool) or cap < 1:
        raise file.error(("run_cap",), f"`run_cap` must be a whole number, at least 1; it is {cap!r}")


def _check_texts(file: SweepFile) -> None:
    for key in TEXTS:
        if isinstance(value := file.content.get(key), bool | list | dict):
            raise file.error((key,), f"`{key}` must be text; it is {kind(value)}")
    command = file.content.get("command")
    if command is not None and not (isinstance(command, list) and command):
        raise file.error(("command",), f"`command` must be a list; it is {kind(command)}")
    for number, part in enumerate(command or (), 1):
        if part is None or isinstance(part, list | dict):
            raise file.error(("command",), f"`command` must be a list of text; part {number} of it is {kind(part)}")


def _check_method(file: SweepFile) -> None:
    method = file.content.get("method")
    if method in ("bayes", "custom"):
        ways = "use grid or random here, register it for `wandb agent`, or tune with `make search`"
        raise file.error(("method",), f"method `{method}` needs W&B's server to choose the points; {ways}")
    if method not in ("grid", "random"):
        raise file.error(("method",), f"`method` must be grid or random; it is {method!r}")


def _check_metric(file: SweepFile) -> None:
    metric = file.content.get("metric")
    if metric is None:
        return
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise file.error(("metric",), "`metric` must have a `name`, e.g. metric: {name: test/bleu, goal: maximize}")
    if metric.get("goal", "minimize") not in ("minimize", "maximize"):
        raise file.error(("metric", "goal"), f"`goal` must be minimize or maximize; it is {metric['goal']!r}")
    for key in metric:
        if key == "target":
            raise file.error(("metric", key), "`target` is not supported without W&B's server (all points are run)")
        if key not in METRIC:
            raise file.error(("metric", str(key)), f"unknown key `{key}` in `metric`.{nearest(str(key), METRIC)}")
