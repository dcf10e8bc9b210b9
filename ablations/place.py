"""Where and how a run happens."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Literal

UNTIL = "RUN_UNTIL"
"""In the environment: when a run of this process and of those it starts has to end, in seconds since 1970."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and how a run happens: nothing of it changes the result's identity."""

    runs: Path = Path("runs")
    """Folder of all run folders."""
    study: str = "single"
    """Study the run belongs to (a folder of runs)."""
    device: str = "auto"
    """auto (the GPU if there is one), cpu, cuda, cuda:N."""
    threads: int = 1
    """CPU threads; one per worker is fastest when several runs share a machine."""
    step: Literal["auto", "eager", "graph", "compiled"] = "auto"
    """How an update is run: as it is written (eager), captured in CUDA graphs (graph), compiled besides; auto = the
    fastest for the length of the run (core/training/step_modes.py). On a GPU decoding replays graphs, too, unless this
    is eager."""
    minutes: float | None = None
    """End cleanly after so many minutes, all saved (status 75); the same command goes on. none = run to the end."""
    deterministic: bool = False
    """Equal bits each time also on a GPU, where the fastest sums are not (slower)."""

    @property
    def until(self) -> float | None:
        """The moment when the time is over, on the clock of time.monotonic; None = never."""
        given = os.environ.get(UNTIL)
        return None if given is None else time.monotonic() + float(given) - time.time()

    def begin(self) -> None:
        """Count the minutes from now on."""
        if self.minutes is not None:
            os.environ[UNTIL] = str(time.time() + 60 * self.minutes)
