"""Read a study back from W&B and draw its table and figures, the same as from its run folders:

    python -m sweeps.fetch wandb:entity/project --out figures
    python -m sweeps.fetch runs/modules/wandb                 # offline logs: .wandb files, or folders of them

The run folders (without checkpoints) are restored below --to, so that `make report` can read them too. A project with
several studies gives each; --study NAME chooses one. Other options are those of `python -m analysis.figures`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations import command_line
from core.config import digest, nearest
from core.errors import UserError, command
from sweeps.wb import restore, wandb_file
from sweeps.wb.restore import Held, Restored

MARK = "fetched.json"
"""Says that a folder is a copy made here, which may be replaced."""


@dataclass(frozen=True)
class Options:
    """Read a study back from W&B and draw its table and figures."""

    study: str | None = None
    """Which study, if the source holds several; none = all."""
    out: Path = Path("figures")
    """Folder for the figures and the table."""
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
    if all((Path(source) / "study.json").exists() or any(Path(source).glob("*/run.json")) for source in sources):
        return draw([Path(source) for source in sources], options.out, others)  # run folders: nothing to fetch
    return draw(fetch(sources, options), options.out, others)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sources, which come first, and the options."""
    first = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return list(arguments[:first]), list(arguments[first:])


def fetch(sources: Sequence[str], options: Options) -> list[Path]:
    """Restore the studies of the sources; the folders. Raises UserError if they hold no run of this suite."""
    runs = [run for one in held(sources) if (run := _told(one)) is not None]
    if not runs:
        raise UserError(f"{' '.join(sources)}: holds no run of this suite")
    names = sorted({run.study for run in runs})
    if options.study is not None and options.study not in names:
        raise UserError(f"no study {options.study} in {' '.join(sources)}.{nearest(options.study, names)}")
    chosen = [run for run in runs if options.study in (None, run.study)]
    place = options.to / _slug(sources)
    studies = replace(place, chosen, sources)
    for study, found in studies.items():
        print(f"{study}: {len(found)} runs read into {place / study}")
    return [place / study for study in studies]


def held(sources: Sequence[str]) -> Iterator[Held]:
    """The runs that the sources hold, each said to be damaged if it is."""
    for source in sources:
        if source.startswith("wandb:"):
            from sweeps.wb import wandb_api

            yield from wandb_api.held(source)
            continue
        for path in files(Path(source)):
            log = wandb_file.read(path)
            for fault in log.damage:
                print(f"{path}: {fault}", file=sys.stderr)
            if log.job_type in ("", "train"):
                yield Held(str(path), log.config, log.summary, log.rows)


def files(source: Path) -> list[Path]:
    """The .wandb files that a path names. Raises UserError if there is none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder (a W&B project is named wandb:entity/project)")
    found = sorted(path.resolve() for path in source.rglob("*.wandb"))
    if not found:
        raise UserError(f"{source}: no .wandb files in it, and no run folders")
    return list(dict.fromkeys(found))  # wandb/latest-run is a link to one of them


def _told(one: Held) -> Restored | None:
    """The run restored; what is not ours, or lacks something, is said."""
    run = restore.restored(one)
    if run is None:
        print(f"{one.where}: not a run of this suite (no record in its configuration), left out", file=sys.stderr)
    elif run.missing and run.record.get("state") == "finished":
        print(f"{one.where}: without {', '.join(run.missing)}, so the figures made of them lack it", file=sys.stderr)
    return run


# Where it goes


def _slug(sources: Sequence[str]) -> str:
    """A folder name for the sources: entity and project, or what the files are called and four digits of where."""
    if len(sources) == 1 and sources[0].startswith("wandb:"):
        return sources[0].removeprefix("wandb:").strip("/").replace("/", "--")
    paths = [str(Path(source).resolve()) for source in sources]
    return f"{Path(paths[0]).stem}-{digest({'sources': paths})[:4]}"


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
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return studies


def draw(studies: Sequence[Path], out: Path, arguments: Sequence[str]) -> int:
    """Table and figures, by the same command as for run folders; its status."""
    line = [sys.executable, "-m", "analysis.figures", *map(str, studies), "--out", str(out), *arguments]
    return subprocess.run(line, check=False).returncode


if __name__ == "__main__":
    sys.exit(command(main)())
