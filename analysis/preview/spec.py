"""workspace.json: what of it a preview shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.files import read_json
from core.errors import UserError


@dataclass(frozen=True)
class Panel:
    """One panel: W&B's name of its kind, its title, its settings."""

    kind: str
    title: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A section: its name, panels side by side, its panels."""

    name: str
    columns: int
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Workspace:
    """Name, project, the group of runs that is shown, the keys they are grouped by, and the sections."""

    name: str
    project: str
    group: str
    grouping: tuple[str, ...]
    sections: tuple[Section, ...]


def read(path: Path) -> Workspace:
    """The workspace of a file. Raises UserError if it is none."""
    content = read_json(path)
    try:
        section = content["spec"]["section"]
        runs = section["runSets"][0]
        return Workspace(
            name=str(content["displayName"]),
            project=str(content["project"]),
            group=", ".join(str(each["value"]) for each in runs["filters"]["filters"]),
            grouping=tuple(each["name"].removesuffix(".value") for each in runs["grouping"]),
            sections=tuple(_section(each) for each in section["panelBankConfig"]["sections"]),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no workspace; make dashboard writes it anew ({type(error).__name__})") from error


def _section(section: dict[str, Any]) -> Section:
    panels = tuple(_panel(panel) for panel in section["panels"])
    return Section(section["name"], int(section["flowConfig"]["columnsPerPage"]), panels)


def _panel(panel: dict[str, Any]) -> Panel:
    config = panel.get("config") or {}
    names = {"Parameter Importance": f"Importance for {config.get('targetKey')}"}
    title = config.get("chartTitle") or names.get(panel["viewType"]) or ", ".join(texts(config))
    return Panel(panel["viewType"], title, config)


def texts(node: Any) -> Iterator[str]:
    """The constant texts of a query panel: the name of the table it shows."""
    if isinstance(node, dict):
        if node.get("nodeType") == "const" and node.get("type") == "string":
            yield str(node["val"])
        else:
            for each in node.values():
                yield from texts(each)
    elif isinstance(node, list):
        for each in node:
            yield from texts(each)
