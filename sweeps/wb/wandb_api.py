"""Runs read back from a W&B server, whole: files of their outputs artifact, else every row of their history."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import UserError
from sweeps.wb import archive, tracking
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


def held(source: str) -> Iterator[Held]:
    """The runs of a project. Raises UserError without a key, a server that answers, such a project, or a run in it."""
    entity, project = project_of(source)
    url = tracking.server()
    if not tracking.has_key(url):
        raise UserError(f"{source}: no key for {url}; `wandb login` asks for one (or set WANDB_API_KEY)")
    if not tracking.reachable(url):
        raise UserError(f"{source}: {url} does not answer; offline logs are read by FROM=runs/<study>/wandb")
    os.environ.setdefault("WANDB_SILENT", "true")  # no progress of each download
    count = 0
    try:
        api = tracking.client().Api(timeout=TIMEOUT_SECONDS)
        path = f"{entity or api.default_entity}/{project}"
        for run in api.runs(path, filters={"jobType": "train"}, lazy=False):
            count += 1
            yield _held(run)
    except Exception as error:  # the client has a kind of its own for each way to fail
        raise UserError(f"{source}: {url} does not give it ({' '.join(str(error).split())[:200]})") from error
    if not count:
        raise UserError(f"{source}: {url} has no runs of this suite in {path}")


def _held(run: Any) -> Held:
    files = _outputs(run)
    rows = [] if "run.json" in files else list(run.scan_history(use_cache=False))
    where = "/".join(run.path)
    return Held(where, dict(run.config), dict(run.summary), rows, files)


def _outputs(run: Any) -> dict[str, bytes]:
    """The files of the run's latest outputs artifact."""
    found = [artifact for artifact in run.logged_artifacts() if artifact.type == "outputs"]
    if not found:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        found[-1].download(root=folder, skip_cache=True)
        names = (*archive.FILES, archive.STUDY)
        return {name: path.read_bytes() for name in names if (path := Path(folder) / name).is_file()}
