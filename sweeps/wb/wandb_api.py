"""Runs read back from a W&B server, whole: files of their outputs artifact, else every row of their history."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.run_folder import RUN
from sweeps.wb import archive, connection
from sweeps.wb.restore import Held

TIMEOUT_SECONDS = 20


def project_of(source: str) -> tuple[str | None, str]:
    """Entity and project of 'wandb:entity/project'; 'wandb:project' leaves the entity to the key's owner.

    Raises UserError for anything else.
    """
    parts = source.removeprefix("wandb:").strip("/").split("/")
    if len(parts) > 2 or not all(parts):
        raise UserError(f"{source}: expected wandb:entity/project, as in the project's address on the server")
    return (parts[0] if len(parts) == 2 else None), parts[-1]


def runs_in(source: str) -> Iterator[Held]:
    """The runs of a project. Raises UserError without a key, a server that answers, such a project, or a run in it."""
    entity, project = project_of(source)
    url = connection.server()
    if not connection.has_key(url):
        raise UserError(f"{source}: no key for {url}; `wandb login` asks for one (or set WANDB_API_KEY)")
    if not connection.reachable(url):
        raise UserError(f"{source}: {url} does not answer; offline logs are read by FROM=runs/<study>/wandb")
    os.environ.setdefault("WANDB_SILENT", "true")  # no progress of each download
    count = 0
    try:
        api = connection.client().Api(timeout=TIMEOUT_SECONDS)
        if not (owner := entity or api.default_entity):
            raise UserError(f"{source}: the key belongs to no user with a default team; name one: wandb:TEAM/{project}")
        path = f"{owner}/{project}"
        for run in api.runs(path, filters={"jobType": "train"}, lazy=False):
            count += 1
            yield _held(run)
    except UserError:
        raise
    except Exception as error:  # the client has a kind of its own for each way to fail
        raise UserError(f"{source}: {url} does not give it ({_line(error)})") from error
    if not count:
        raise UserError(f"{source}: {url} has no run of this suite in {path}")


def _held(run: Any) -> Held:
    """The run with its files, or its history if it has none; of a run that is not ours, neither."""
    where, config, summary = "/".join(run.path), dict(run.config), dict(run.summary_metrics)
    if not isinstance(config.get("record"), Mapping):
        return Held(where, config, summary, [])
    try:
        files = _outputs(run)
    except Exception as error:  # deleted on the server, say
        print(f"{where}: its files are not to be had ({_line(error)}); read from its history", file=sys.stderr)
        files = {}
    rows = [] if RUN in files else list(run.scan_history(use_cache=False))
    return Held(where, config, summary, rows, files)


def _outputs(run: Any) -> dict[str, bytes]:
    """Our files of the latest version of the run's outputs artifact; whatever else is in it stays there."""
    from sweeps.wb import lineage  # imports wandb

    name, wanted = lineage.name("outputs", run.id), [*archive.FILES, archive.STUDY]
    made = [each for each in run.logged_artifacts() if each.name.partition(":")[0] == name]
    if not made:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for file in max(made, key=lambda each: int(each.version[1:])).files(names=wanted):
            if file.name in wanted and file.size <= archive.LIMIT:
                file.download(root=folder, replace=True).close()
        return {name: path.read_bytes() for name in wanted if (path := Path(folder) / name).is_file()}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
