"""How often a run may be tried."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ablations import records
from core.run_folder import RUN
from sweeps.running.plan import Job

LIMIT = 2
"""A failed run is tried once more."""


class Attempts:
    """Which runs may be tried (again): each has LIMIT attempts in one sweep or search, whatever happened to it before.

    A run that is not among `jobs` counts from when it is first asked about.
    """

    def __init__(self, jobs: Iterable[Job] = (), runs: Path = Path()) -> None:
        folders = {job.key: job.folder(runs) for job in jobs}
        self.before = {k: records.read(f)["attempts"] if (f / RUN).exists() else 0 for k, f in folders.items()}

    def left(self, key: str, attempts: int, refused: bool) -> bool:
        """Whether a run may be tried, after so many attempts in all; a refusal (a user's mistake) is final."""
        now = attempts - self.before.setdefault(key, attempts)
        return now < LIMIT and not (refused and now > 0)

    def again(self, job: Job, record: Mapping[str, Any]) -> bool:
        """The same for a job and its record."""
        return self.left(job.key, record["attempts"], record["refused"])
