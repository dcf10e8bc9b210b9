"""A study's workspace and report as JSON, and saved to the W&B server: written twice, they are updated."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import wandb

from core.errors import UserError
from sweeps.dashboards import story
from sweeps.dashboards.facts import Facts
from sweeps.dashboards.workspace import name_from, workspace
from sweeps.wb import connection, private

TIMEOUT = 30
"""Seconds a server may take for one answer."""
PATIENCE = 120.0
"""Seconds that saving may take in all: the client itself tries for longer."""


def write(facts: Facts, folder: Path, project: str, when: str) -> list[Path]:
    """workspace.json and report.json in the folder, made without a server."""
    folder.mkdir(parents=True, exist_ok=True)
    views = {"workspace": workspace(facts, "", project), "report": story.report(facts, "", project, when)}
    written = []
    for name, view in views.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(private.view_json(view), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def save(facts: Facts, entity: str | None, project: str, when: str) -> list[str]:
    """Save both to the server; their addresses. Raises UserError when that fails, saying why.

    A view of this study that is there is updated: the workspace is found by its name, the report by its title and
    description.
    """
    api = wandb.Api(timeout=TIMEOUT)
    owner = entity or api.default_entity
    if not owner:
        raise UserError("W&B: the key belongs to no user with a default team; name one: WANDB_ENTITY=team")
    if project not in {each.name for each in api.projects(owner)}:
        api.create_project(project, owner)
    made = workspace(facts, owner, project)
    private.set_name(made, f"nw-{name_from('view', owner, project, facts.name)}-v", owner, project)
    made.save()
    told = story.report(facts, owner, project, when)
    wanted = (told.title, told.description)
    earlier = [each for each in api.reports(f"{owner}/{project}") if (each.display_name, each.description) == wanted]
    told.id = str(earlier[0].id) if earlier else ""
    told.save()
    return [quote(address, safe=":/?=&%#") for address in (made.url, told.url)]  # a project may have blanks


def save_patiently(facts: Facts, project: str, when: str, folder: Path) -> dict[str, str]:
    """Save both where a server answers in time; their addresses. Raises UserError that says where the JSON is, else."""
    url = connection.server()
    kept = f"{folder} has both as JSON; start the same command again when it answers, or with WANDB_MODE=offline"
    if not connection.reachable(url):
        raise UserError(f"W&B: {url} does not answer. {kept}")
    entity = os.environ.get("WANDB_ENTITY")
    saved = in_time(lambda: save(facts, entity, project, when), f"W&B: not saved at {url}", kept)
    return dict(zip(("workspace", "report"), saved, strict=True))


def in_time(action: Callable[[], list[str]], what: str, way: str, seconds: float = PATIENCE) -> list[str]:
    """The action's result. Raises UserError, "what (reason). way", if it fails or takes too long (a server gone)."""
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = action()
        except BaseException as error:  # said to whoever waits
            outcome["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if isinstance(error := outcome.get("error"), UserError):
        raise error
    if "result" not in outcome:
        reason = connection.one_line(error) if error else f"no answer in {seconds:.0f} s"
        raise UserError(f"{what} ({reason}). {way}") from error
    return list(outcome["result"])
