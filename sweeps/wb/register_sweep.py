"""A sweep registered on W&B's server, and the command of an agent that runs it."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError
from sweeps.wb import connection


def register(content: Mapping[str, Any]) -> str:
    """Register the sweep by W&B's client; returns the command that runs it. Raises UserError if the server will not."""
    wandb = connection.client()
    project = str(content["project"])
    try:
        sweep_id = wandb.sweep(dict(content), project=project)
        api = wandb.Api()
        entity = os.environ.get("WANDB_ENTITY") or api.settings.get("entity") or api.default_entity
    except Exception as error:  # the client raises its own kinds
        raise UserError(f"W&B: the sweep was not registered ({' '.join(str(error).split())[:300]})") from error
    return agent_command("/".join(part for part in (entity, project, sweep_id) if part))


def on_path() -> bool:
    """Whether `python` is this one."""
    found = shutil.which("python")
    return found is not None and Path(found).parent == Path(sys.executable).parent


def interpreter() -> str:
    """How to call this Python from here."""
    return "python" if on_path() else os.path.relpath(sys.executable) if _is_near() else sys.executable


def _is_near() -> bool:
    return Path(sys.executable).is_relative_to(Path.cwd())


def agent_command(sweep: str) -> str:
    """The command of an agent. `wandb agent` starts `python` from the PATH, which must be the one with our packages."""
    here = os.path.dirname(sys.executable)
    place = f"$PWD/{os.path.relpath(here)}" if _is_near() else here
    return ("" if on_path() else f'PATH="{place}:$PATH" ') + f"wandb agent {shlex.quote(sweep)}"
