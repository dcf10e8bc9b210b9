"""Runs that W&B holds, on its server or in offline logs, back as the run folders of their studies."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from core.config import digest
from core.errors import UserError
from core.options import nearest
from core.reading.typed import printable
from core.run_folder import RUN, SEARCH, STUDY
from sweeps.wb import restore, wandb_file
from sweeps.wb.restore import Held, Restored

MARK = "fetched.json"
"""Says that a folder is a copy made here, which may be replaced."""
NAMED = 3
"""So many runs that are left out are named; more are counted."""


def folders(sources: Sequence[str], to: Path, study: str | None = None, one: bool = False) -> list[Path]:
    """The study folders of the sources: those that W&B holds are restored first, others are meant as they are.

    to: folder for the copies; study: its name, none = all; one: they must be of one study alone.
    """
    held_there = [source for source in sources if of_wandb(source)]
    own = [Path(source) for source in sources if source not in held_there]
    return own + (fetch(held_there, to, study, one) if held_there else [])


def of_wandb(source: str) -> bool:
    """Whether W&B holds a source: a project, a log, or a folder with logs below it and no runs of ours in it."""
    path = Path(source)
    if source.startswith("wandb:") or path.suffix == ".wandb":
        return True
    ours = (STUDY, SEARCH, f"*/{RUN}", f"*/{STUDY}")
    return not any(next(path.glob(name), None) for name in ours) and next(path.rglob("*.wandb"), None) is not None


def fetch(sources: Sequence[str], to: Path, study: str | None = None, one: bool = False) -> list[Path]:
    """Restore the studies of the sources; the folders. Raises UserError if they hold no run of this suite."""
    told = [(one.where, restore.restore_run(one)) for one in runs_in(sources)]
    runs = [(where, run) for where, run in told if run is not None]
    if others := [where for where, run in told if run is None]:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        print(printable(f"left out, no runs of this suite: {', '.join(others[:NAMED])}{more}"), file=sys.stderr)
    if not runs:
        raise UserError(f"{' '.join(sources)}: holds no run of this suite")
    names = sorted({run.study for _, run in runs})
    if study is not None and study not in names:
        raise UserError(f"no study {study} in {' '.join(sources)}.{nearest(study, names)}")
    if one and study is None and len(names) > 1:
        raise UserError(
            f"{' '.join(sources)} holds {', '.join(names)}; a report is of one: name it with STUDY= (--study)"
        )
    chosen = [(where, run) for where, run in runs if study in (None, run.study)]
    for where, run in chosen:
        if run.missing and run.record.get("state") == "finished":
            print(
                printable(f"{where}: without {', '.join(run.missing)}, so the figures made of them lack it"),
                file=sys.stderr,
            )
    place = to / _slug(sources)
    studies = replace(place, [run for _, run in chosen], sources)
    for name, found in studies.items():
        print(f"{name}: {len(found)} runs read into {place / name}")
    return [place / name for name in studies]


def runs_in(sources: Sequence[str]) -> Iterator[Held]:
    """The runs that the sources hold, each said to be damaged if it is."""
    for source in sources:
        if source.startswith("wandb:"):
            from sweeps.wb import wandb_api

            yield from wandb_api.runs_in(source)
            continue
        for path in files(Path(source)):
            if (log := _log(path, lenient=Path(source).is_dir())) is not None and log.job_type in ("", "train"):
                yield Held(str(path), log.config, log.summary, log.rows)


def _log(path: Path, lenient: bool) -> wandb_file.Log | None:
    """A log, its faults said. One that is none is left out where there may be others, and said."""
    try:
        log = wandb_file.read(path)
    except UserError as error:
        if not lenient:
            raise
        print(printable(f"left out: {error}"), file=sys.stderr)
        return None
    for fault in log.damage:
        print(printable(f"{path}: {fault}"), file=sys.stderr)
    return log


def files(source: Path) -> list[Path]:
    """The .wandb files that a path names. Raises UserError if there is none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder (a W&B project is named wandb:entity/project)")
    found = sorted({path.resolve() for path in source.rglob("*.wandb") if path.is_file()})
    if not found:  # wandb/latest-run is a link to one of them
        raise UserError(f"{source}: no .wandb files in it, and no run folders")
    return found


def _slug(sources: Sequence[str]) -> str:
    """A folder name for the sources: entity and project, or what the files are called; four digits of where if that
    says too little."""
    if len(sources) == 1 and sources[0].startswith("wandb:"):
        name = sources[0].removeprefix("wandb:").strip("/").replace("/", "--")
        if re.fullmatch(r"[\w-][\w.-]{,99}", name):
            return name
    paths = [source if source.startswith("wandb:") else str(Path(source).resolve()) for source in sources]
    name = re.sub(r"[^\w-]+", "-", Path(paths[0].removeprefix("wandb:")).stem)[:40]
    return f"{name}-{digest({'sources': paths})[:4]}"


def replace(place: Path, runs: Iterable[Restored], sources: Sequence[str]) -> dict[str, list[Restored]]:
    """Write the studies into the folder `place`; an earlier copy goes, anything else there is left alone.

    Raises UserError if something that was not made here is in the way.
    """
    if place.exists() and not (place / MARK).exists():
        raise UserError(f"{place} exists and was not made by this command; name another folder with --to")
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        studies = restore.write(runs, draft)
        (draft / MARK).write_text(json.dumps({"sources": list(sources)}) + "\n")
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror}; name another folder with --to") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return studies
