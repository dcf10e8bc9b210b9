"""What to say where no study is: which ones there are nearby, or how to come by one."""

import difflib
from pathlib import Path

from core.run_folder import RUN, SEARCH, STUDY

FETCH_FIRST = "run folders are read here; make figures FROM={} makes them of what W&B holds and says where"
SHOWN = 20
"""So many studies a message names."""


def studies_in(folder: Path) -> list[str]:
    """Names of the study folders in a folder such as runs/."""
    found = [file.parent for name in (STUDY, SEARCH) for file in folder.glob(f"*/{name}")]
    found += [file.parent.parent for file in folder.glob(f"*/*/{RUN}")]
    return sorted({path.name for path in found if not path.name.startswith(".")})


def no_folder(path: Path) -> str:
    """The message for a folder that is not there."""
    held_by_wandb = str(path).startswith("wandb:") or path.suffix == ".wandb"
    way = FETCH_FIRST.format(path) if held_by_wandb else beside(path)
    return f"no study folder {path}: {way}"


def no_runs(path: Path) -> str:
    """The message for a folder that holds no run."""
    if (path / STUDY).exists():
        way = "nothing of it was run yet; start the same sweep again"
    elif known := studies_in(path):
        way = f"it holds the studies {listed(known)}: name one of them, e.g. {path / known[0]}"
    elif next(path.rglob("*.wandb"), None):
        way = FETCH_FIRST.format(path)
    else:
        way = f"it is no study folder such as runs/modules; {beside(path)}"
    return f"no runs in {path}: it holds no */{RUN}; {way}"


def beside(path: Path) -> str:
    """The studies beside a path, the nearest by name first; how to make one where there is none."""
    known = studies_in(path.parent)
    if not known:
        return "run the sweep first (make sweep), or name the folder under runs/"
    begun = [name for name in known if name.startswith(path.name)]
    close = begun or difflib.get_close_matches(path.name, known, n=1, cutoff=0.4)
    guess = f"did you mean {path.parent / close[0]}? " if close else ""
    return f"{guess}{path.parent} holds: {listed(known)}"


def listed(names: list[str]) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
