"""Dashboards of a study. The command behind `make dashboard`.

    python -m sweeps.dashboard runs/modules

With a W&B server (a key, or WANDB_MODE=online) a workspace and a report are saved there, and updated the next time.
Without one they are written as JSON to dashboard/<study>/, and this machine serves, until Ctrl-C, our own report, drawn
anew whenever a run has ended, and optuna-dashboard with the study's trials.
"""

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tyro

from ablations import command_line
from core.errors import UserError, command
from core.run_folder import SEARCH
from core.signals import end_on_sigterm
from sweeps.dashboards import boards, facts
from sweeps.dashboards.live_report import LiveReport
from sweeps.extras import need
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
    """Folder for workspace.json and report.json: dashboard/<study>/."""
    storage: str | None = None
    """Optuna storage of the study: path of a journal file, or a URL; none = what the variable SWEEP_STORAGE says, else
    optuna.journal in the study's folder."""
    port: int | None = None
    """Port of optuna-dashboard on 127.0.0.1; none = 8080, or a free one if that is taken."""
    serve: bool = True
    """Serve report and optuna-dashboard (when there is no W&B server)."""
    browser: bool = True
    """Open pages in the browser, where there is a screen."""


def main() -> int:
    """The command."""
    options = command_line.read(Options, prog="python -m sweeps.dashboard", description=__doc__)
    connection.begin()
    where = boards.storage_of(options.study, options.storage or os.environ.get(boards.STORAGE))
    online = connection.mode() == "online"
    try:
        study = facts.read(options.study)
    except UserError as error:
        if online or not options.serve or (where is None and not (options.study / SEARCH).exists()):
            raise
        print(f"no workspace: {error}", file=sys.stderr)
        return serve(options, where)
    need("wandb_workspaces", "wandb-workspaces", "the W&B workspace", oldest=NEEDED)
    from sweeps.dashboards import views  # imports wandb and wandb_workspaces: seconds

    project = os.environ.get("WANDB_PROJECT", tracking.PROJECT)
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    folder = options.out / options.study.resolve().name
    for path in views.write(study, folder, project, when):
        print(f"wrote {path}")
    if not study.results:
        print(f"no results yet: the panels fill as runs finish ({study.found.get('why')})")
    if online:
        for what, address in views.save_patiently(study, project, when, folder).items():
            print(f"{what}: {address}")
        return 0
    print(f"W&B: {connection.mode()}; `make dashboard` with a key and a server saves workspace and report there")
    return serve(options, where) if options.serve else draw(options)


def serve(options: Options, where: str | None) -> int:
    """The report, and optuna-dashboard if there is a storage, until Ctrl-C."""
    end_on_sigterm()
    report = LiveReport(options.study, options.report)
    servers = [boards.listen(report.answer, boards.REPORT_PORT, None)]
    if where is None:
        print(f"no optuna.journal in {options.study}: for optuna-dashboard name the sweep's storage (make: STORAGE=)")
    else:
        servers.append(boards.board(where, options.port))
    report.follow()
    for server, what in zip(servers, ("our report", "optuna-dashboard"), strict=False):
        boards.show(boards.address(server), f"{what} (Ctrl-C ends it)", options.browser)
    try:
        boards.serve(servers)
    finally:
        report.close()
    return 0


def draw(options: Options) -> int:
    """The report once, as it stands."""
    report = LiveReport(options.study, options.report)
    report.look()
    if report.version:
        boards.show((options.report / "index.html").resolve().as_uri(), "our report", options.browser)
    return 0


if __name__ == "__main__":
    sys.exit(command(main)())
