"""Where a result comes from: commit, versions of what the code stands on, device and processor, command."""

import contextlib
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from core.errors import masked
from core.processor import processor

PACKAGES = ("torch", "numpy", "tokenizers", "sacrebleu", "rouge-score", "safetensors", "optuna", "wandb")

DIRTY = "+dirty"
"""Ends a commit that tracked files differ from."""


def _installed(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git(*arguments: str) -> str | None:
    """What git says about the folder of this file; None when it says no, or is not there."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
        return result.stdout.strip() if result.returncode == 0 else None
    return None


@lru_cache
def commit() -> str | None:
    """The checkout's commit, with '+dirty' when tracked files differ from it; None outside a checkout of ours."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:  # installed inside some other repository
        return None
    head, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return head + DIRTY * bool(changes) if head else None


def provenance(device: Any) -> dict[str, Any]:
    """Where a result comes from: versions, commit, the torch.device, processor, threads, command line. Never fails."""
    import torch  # on demand: reading records needs no torch

    found = {package: _installed(package) for package in PACKAGES}
    versions = {"python": platform.python_version()} | {k: v for k, v in found.items() if v}
    name = f"cuda {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"
    command = masked(" ".join(sys.orig_argv))
    return {
        "versions": versions,
        "commit": commit(),
        "device": name,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "command": command,
    }
