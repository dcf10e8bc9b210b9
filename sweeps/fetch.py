"""Read a study back from W&B and draw its table and figures, or its report, the same as from its run folders:

    python -m sweeps.fetch wandb:entity/project --out figures
    python -m sweeps.fetch wandb:entity/project --draw report
    python -m sweeps.fetch runs/modules/wandb                 # offline logs: .wandb files, or folders of them

The run folders (without checkpoints) are restored below --to. A project with several studies gives each; --study NAME
chooses one. Other options are those of `python -m analysis.figures` or `python -m analysis.report`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablations import command_line
from core.config import digest, nearest
from core.errors import UserError, command
from core.run_folder import RUN, SEARCH, STUDY
from sweeps.wb import restore, wandb_file
from sweeps.wb.restore import Held, Restored

MARK = "fetched.json"
"""Says that a folder is a copy made here, which may be replaced."""


NAMED = 3
"""So many runs that are left out are named; more are counted."""


@dataclass(frozen=True)
class Options:
    """Read a study back from W&B and draw its table and figures, or its report."""

    study: str | None = None
    """Which study, if the source holds several; none = all."""
    draw: Literal["figures", "report"] = "figures"
    """What is made of it: table and figures, or the report."""
    out: Path | None = None
    """Folder for what is drawn; none = figures, or report."""
    to: Path = Path("runs/.fetched")
    """Folder for the run folders that are read back; each source has its own below it, replaced when read again."""


def main() -> int:
    """The command."""
    sources, rest = _split(sys.argv[1:])
    parsed: Any = command_line.read(
        Options, prog="python -m sweeps.fetch SOURCE...", description=__doc__, args=rest, return_unknown_args=True
    )
    options, others = parsed
    if not sources:
        raise UserError(
            "what to read? python -m sweeps.fetch wandb:entity/project, or X.wandb, or a folder of such files"
        )
    return draw(folders(sources, options), options, others)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sources, which come first, and the options."""
    first = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return list(arguments[:first]), list(arguments[first:])


def folders(sources: Sequence[str], options: Options) -> list[Path]:
    """The study folders of the sources: those that W&B holds are restored first, others are meant as they are."""
    held_there = [source for source in sources if of_wandb(source)]
    own = [Path(source) for source in sources if source not in held_there]
    return own + (fetch(held_there, options) if held_there else [])


def of_wandb(source: str) -> bool:
    """Whether W&B holds a source: a project, a log, or a folder with logs below it and no runs of ours in it."""
    path = Path(source)
    if source.startswith("wandb:") or path.suffix == ".wandb":
        return True
    ours = (STUDY, SEARCH, f"*/{RUN}", f"*/{STUDY}")
    return not any(next(path.glob(name), None) for name in ours) and next(path.rglob("*.wandb"), None) is not None


def fetch(sources: Sequence[str], options: Options) -> list[Path]:
    """Restore the studies of the sources; the folders. Raises UserError if they hold no run of this suite."""
    told = [(one.where, restore.restored(one)) for one in held(sources)]
    runs = [(where, run) for where, run in told if run is not None]
    left_out([where for where, run in told if run is None])
    if not runs:
        raise UserError(f"{' '.join(sources)}: holds no run of this suite")
    names = sorted({run.study for _, run in runs})
    if options.study is not None and options.study not in names:
        raise UserError(f"no study {options.study} in {' '.join(sources)}.{nearest(options.study, names)}")
    if options.draw == "report" and options.study is None and len(names) > 1:
        raise UserError(
            f"{' '.join(sources)} holds {', '.join(names)}; a report is of one: name it with STUDY= (--study)"
        )
    chosen = [(where, run) for where, run in runs if options.study in (None, run.study)]
    for where, run in chosen:
        if run.missing and run.record.get("state") == "finished":
            print(f"{where}: without {', '.join(run.missing)}, so the figures made of them lack it", file=sys.stderr)
    place = options.to / _slug(sources)
    studies = replace(place, [run for _, run in chosen], sources)
    for study, found in studies.items():
        print(f"{study}: {len(found)} runs read into {place / study}")
    return [place / study for study in studies]


def left_out(others: Sequence[str]) -> None:
    """Say which runs are none of ours."""
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        print(f"left out, no runs of this suite: {', '.join(others[:NAMED])}{more}", file=sys.stderr)


def held(sources: Sequence[str]) -> Iterator[Held]:
    """The runs that the sources hold, each said to be damaged if it is."""
    for source in sources:
        if source.startswith("wandb:"):
            from sweeps.wb import wandb_api

            yield from wandb_api.held(source)
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
        print(f"left out: {error}", file=sys.stderr)
        return None
    for fault in log.damage:
        print(f"{path}: {fault}", file=sys.stderr)
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


# Where it goes


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


def draw(studies: Sequence[Path], options: Options, arguments: Sequence[str]) -> int:
    """Table and figures, or the report, by the same command as for run folders; its status."""
    out = str(options.out or options.draw)
    line = [sys.executable, "-m", f"analysis.{options.draw}", *map(str, studies), "--out", out, *arguments]
    return subprocess.run(line, check=False).returncode


if __name__ == "__main__":
    sys.exit(command(main)())
