"""Where and how a run happens."""

import dataclasses
from pathlib import Path
from typing import Literal


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
    fastest for the length of the run (core/step_modes.py)."""
    deterministic: bool = False
    """Equal bits each time also on a GPU, where the fastest sums are not (slower)."""
