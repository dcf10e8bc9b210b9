"""Dashboards of a study: the W&B workspace and report as code. The command behind `make dashboard`.

    python -m sweeps.dashboard runs/modules

With a W&B server (a key, or WANDB_MODE=online) both are saved there, and updated the next time. Without one they are
written as JSON to dashboard/<study>/, with a preview of the workspace as a page; our own report is written and opened,
and optuna-dashboard serves the study's Optuna storage on this machine until Ctrl-C.
"""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import tyro

from ablations import command_line
from core.errors import UserError, command
from sweeps.dashboards import boards, facts
from sweeps.wb import connection, tracking

NEEDED = (0, 4, 13)
"""The version of wandb-workspaces that this is written for (pyproject.toml has the range)."""


@dataclass(frozen=True)
class Options:
    """Dashboards of a study."""

    study: Annotated[Path, tyro.conf.Positional]
    """The study's folder, e.g. runs/modules."""
    report: Path = Path("report")
    """Folder for our own report."""
    out: Path = Path("dashboard")
    """Folder for workspace.json, report.json and the preview: dashboard/<study>/."""
    storage: str | None = None
    """Optuna storage of the study: path of a journal file, or a URL; none = optuna.journal in the study's folder."""
    port: int | None = None
    """Port of optuna-dashboard on 127.0.0.1; none = 8080, or a free one if that is taken."""
    serve: bool = True
    """Serve optuna-dashboard (when there is no W&B server)."""
    browser: bool = True
    """Open pages in the browser, where there is a screen."""


def main() -> int:
    """The command."""
    options = command_line.read(Options, prog="python -m sweeps.dashboard", description=__doc__)
    connection.check_mode()
    check_version()
    where = boards.storage_of(options.study, options.storage)
    try:
        study = facts.read(options.study)
    except UserError as error:
        if where is None or not options.serve or tracking.mode() == "online":
            raise
        print(f"no workspace: {error}", file=sys.stderr)  # the folder of a search, say
        return serve(options, where)
    from sweeps.dashboards import views  # imports wandb and wandb_workspaces: seconds

    project = os.environ.get("WANDB_PROJECT", tracking.PROJECT)
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    folder = options.out / options.study.resolve().name
    for path in views.write(study, folder, project, when):
        print(f"wrote {path}")
    if not study.results:
        print(f"no results yet: the panels fill as runs finish ({study.found.get('why')})")
    if tracking.mode() == "online":
        return online(study, project, when, folder)
    return offline(study, options, folder, where)


def check_version() -> None:
    """Raises UserError if wandb-workspaces is missing or older than what this is written for."""
    wanted = ".".join(map(str, NEEDED))
    try:
        found = version("wandb-workspaces")
    except PackageNotFoundError:
        raise UserError(
            f"wandb-workspaces is not installed; install it: pip install 'wandb-workspaces>={wanted}'"
        ) from None
    if tuple(int(part) for part in found.split(".")[:3] if part.isdigit()) < NEEDED:
        raise UserError(f"wandb-workspaces {found} is too old; pip install --upgrade 'wandb-workspaces>={wanted}'")


def online(study: facts.Facts, project: str, when: str, folder: Path) -> int:
    """Save both views to the server and say where they are."""
    from sweeps.dashboards import views

    url = tracking.server()
    kept = f"{folder} has both as JSON; start the same command again when it answers, or with WANDB_MODE=offline"
    if not tracking.reachable(url):
        raise UserError(f"W&B: {url} does not answer. {kept}")
    entity = os.environ.get("WANDB_ENTITY")
    saved = views.in_time(lambda: views.save(study, entity, project, when), f"W&B: not saved at {url}", kept)
    for what, address in zip(("workspace", "report"), saved, strict=True):
        print(f"{what}: {address}")
    return 0


def offline(study: facts.Facts, options: Options, folder: Path, where: str | None) -> int:
    """The preview, our own report, and optuna-dashboard."""
    print(f"W&B: {tracking.mode()}; `make dashboard` with a key and a server saves the workspace and the report there")
    preview = folder / "workspace.html"
    if draw(
        "analysis.preview", str(options.study), "--workspace", str(folder / "workspace.json"), "--out", str(preview)
    ):
        boards.show(preview.resolve().as_uri(), "preview of the workspace", False)
    if study.results and draw("analysis.report", str(options.study), "--out", str(options.report)):
        boards.show((options.report / "index.html").resolve().as_uri(), "our report", options.browser)
    return serve(options, where) if options.serve else 0


def serve(options: Options, where: str | None) -> int:
    """optuna-dashboard until Ctrl-C; it is said if there is no storage."""
    if where is None:
        print(f"no optuna.journal in {options.study}: for optuna-dashboard name the sweep's storage (make: STORAGE=)")
        return 0
    server = boards.board(where, options.port)
    address = f"http://{boards.HOST}:{server.server_address[1]}/"
    boards.show(address, "optuna-dashboard (Ctrl-C ends it)", options.browser)
    boards.serve(server)
    return 0


def draw(module: str, *arguments: str) -> bool:
    """Run a command of the analysis; whether it succeeded (if not, it has said why, and how to try again is said)."""
    line = [sys.executable, "-m", module, *arguments]
    if subprocess.run(line, check=False, stdout=subprocess.DEVNULL).returncode:
        print(f"{module} failed; again: {shlex.join(line)}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(command(main)())
