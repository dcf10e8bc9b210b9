"""The processor's name."""

import contextlib
import platform
from functools import lru_cache
from pathlib import Path


@lru_cache
def processor() -> str | None:
    """As the system has it: rounding, and so the result of a seed, differs between models; so do all rates."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        names = [line.partition(":")[2] for line in lines if line.partition(":")[0].strip() == "model name"]
        if names and names[0].strip():
            return " ".join(names[0].split())
    return platform.processor() or platform.machine() or None
