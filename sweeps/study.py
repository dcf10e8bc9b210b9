"""Run a study: every arm with every seed, on as many workers as there are cores. The command behind `make sweep`.

    python -m sweeps.study                                        # the 2x2x2 of the paper's modules, embedded corpus
    python -m sweeps.study --study noise_factor --seeds 5
    python -m sweeps.study --data path/to/multi30k --src de --tgt en --preset small
    python -m sweeps.study --study sweeps/wandb/modules.yaml          # the same points as W&B's agents get of this file
    python -m sweeps.study --only anchor+norm+F4 --set updates=50 --dry-run

Started again, however it ended, it does only what is missing. What is done lies in runs/<study>/, a folder a run.
"""

import contextlib
import errno
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ablations import command_line, presets, records, studies
from core.config import RunConfig
from core.errors import UserError, command, masked
from sweeps.agents import sweep_file
from sweeps.running import plan, pool, storage
from sweeps.running.conduct import Sweep, conduct
from sweeps.running.display import duration
from sweeps.running.order import orders
from sweeps.running.plan import Job
from sweeps.running.progress import View, view
from sweeps.running.recipe import Recipe
from sweeps.running.recipe import corpus_digest as corpus_digest
from sweeps.running.recipe import identify as identify
from sweeps.wb import connection

_SET = tyro.conf.arg(name="set", metavar="NAME=VALUE")
RANKED = 10
"""So many runs are named where no table can be made."""


@dataclass(frozen=True)
class Which:
    """Which study, on which text, with how many seeds: what every command about a study asks."""

    study: str = "modules"
    """Which study (ablations/studies.py lists them). sweeps.study alone also takes the path of a sweep file."""
    preset: str | None = None
    """Sizes and data recipe (ablations/presets.py); none = tiny for the embedded corpus, small for a folder."""
    data: str | None = None
    """Folder of {train,valid,test}.{src,tgt}[.gz]; none = the embedded corpus."""
    src: str = "de"
    """Suffix of the source files in the folder."""
    tgt: str = "en"
    """Suffix of the target files in the folder."""
    seeds: int | None = None
    """Number of seeds: each arm runs with seeds 1 to N; none = as the preset says."""
    runs: Path = Path("runs")
    """Folder for the run folders: runs/<study>/<arm>-s<seed>-<hash>/."""


@dataclass(frozen=True)
class Options(Which):
    """Options of a sweep."""

    workers: int | None = None
    """Worker processes; none = one a core, or one a GPU."""
    figures: Path = Path("figures")
    """Folder for the figures and the table."""
    storage: str | None = None
    """Optuna storage: path of a journal file, or a URL (sqlite:///, postgresql://, mysql://, grpc://; redis:// after
    pip install redis); none = what the variable SWEEP_STORAGE says, else optuna.journal in the folder of the study or
    search."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List what would run, and stop."""
    only: Annotated[tuple[tuple[str, ...], ...], tyro.conf.arg(metavar="ARM..."), tyro.conf.UseAppendAction] = ()
    """Run these arms alone."""
    overrides: Annotated[tuple[str, ...], _SET, tyro.conf.UseAppendAction] = ()
    """Set an option for every arm, e.g. --set updates=300 (python -m ablations.run --help lists them)."""


def main() -> int:
    """The command."""
    options = command_line.read(Options, prog="python -m sweeps.study", description=__doc__)
    sweep, preset = prepare(options)
    if options.dry_run:
        return dry_run(sweep, preset)
    signal.signal(signal.SIGTERM, _terminated)
    began = records.now()
    with disk_full(sweep.runs):
        views = conduct(sweep)
    failed = report(sweep, views)
    if missing := unmirrored(sweep, began):
        said = f"W&B does not have all of {missing} run{'s' * (missing > 1)} (log.txt in their folders says why)"
        print(f"{said}; python -m sweeps.mirror {sweep.folder} writes them anew", file=sys.stderr)
    if not plan.comparable(sweep.jobs):
        ranking(views)
    elif failed < len(views):
        analyse(sweep, options.figures)
    return 1 if failed else 0


@contextlib.contextmanager
def disk_full(runs: Path) -> Iterator[None]:
    """Turn 'no space left' into a UserError that names the folder of all runs."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(f"{runs}: the disk is full; make room and start the same command again") from error


def _terminated(signum: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signum)


# What to run


def positive(name: str, value: int) -> int:
    """The value. Raises UserError if it is below 1."""
    if value < 1:
        raise UserError(f"--{name} {value}: must be at least 1")
    return value


@dataclass(frozen=True)
class Base:
    """What all arms of a sweep share: its study, preset, options, seeds, and the name of its folder."""

    study: studies.Study
    preset: presets.Preset
    config: RunConfig
    seeds: int
    folder: str


def base(options: Options) -> Base:
    """What the options ask for, before it comes to arms. Raises UserError for a wrong option."""
    study = studies.get(options.study)
    overrides = plan.overrides_for(study, options.overrides)
    recipe = Recipe.of(study, options.preset, options.data, options.src, options.tgt, overrides)
    seeds = (study.seeds or recipe.preset.seeds) if options.seeds is None else options.seeds
    return Base(study, recipe.preset, recipe.config, positive("seeds", seeds), recipe.folder)


def prepare(options: Options, program: str = "sweeps.study") -> tuple[Sweep, presets.Preset]:
    """Everything a sweep needs to know; program: what was started, for the record.

    Raises UserError for a wrong option or unusable text; writes nothing.
    """
    connection.check_mode()
    recipe, jobs, runs = described(options) if sweep_file.is_one(options.study) else asked(options)
    wanted = plan.chosen(jobs, [arm for arms in options.only for arm in arms])
    devices = pool.gpus()
    workers = workers_for(options, devices)
    sweep = Sweep(
        jobs=tuple(wanted),
        arms=tuple(arm.name for arm in recipe.study.arms),
        runs=runs,
        storage=storage.chosen(options.storage) or str(runs / recipe.folder / "optuna.journal"),
        queue=recipe.queue,
        metric=recipe.study.metric,
        workers=min(workers, len(wanted)),
        devices=tuple(devices),
        facts=recipe.facts(jobs, typed(program)),
    )
    return sweep, recipe.preset


def typed(program: str) -> str:
    """The command line of this process, without passwords."""
    return masked(f"python -m {program} {shlex.join(sys.argv[1:])}").strip()


def asked(options: Options) -> tuple[Recipe, list[Job], Path]:
    """All runs of a named study, and the folder of all runs."""
    shared = base(options)
    recipe = Recipe(shared.study, shared.preset, shared.config, shared.folder)
    return recipe, recipe.jobs(shared.seeds), options.runs


def described(options: Options) -> tuple[Recipe, list[Job], Path]:
    """All runs of a sweep file: the same as `sweeps.agent` and `wandb agent` make of it."""
    for name in ("preset", "data", "src", "tgt", "seeds", "overrides"):
        if getattr(options, name) != getattr(Options, name):
            given = "set" if name == "overrides" else name
            raise UserError(f"--{given}: the sweep file {options.study} says this; change its `parameters`")
    file = sweep_file.load(Path(options.study))
    found = orders(file, options.runs)
    jobs = [made.job for made in found]
    if file.method == "grid":  # seed by seed, as a named study goes
        jobs = plan.twins_last(sorted(jobs, key=lambda job: job.seed))
    return found[0].recipe, jobs, found[0].runs


def workers_for(options: Options, devices: Sequence[str]) -> int:
    """How many workers: as asked for, else one a GPU or one a core."""
    return (len(devices) or pool.cores()) if options.workers is None else positive("workers", options.workers)


def dry_run(sweep: Sweep, preset: presets.Preset) -> int:
    """Print what would run; nothing is written."""
    print(f"{sweep.heading}\n{sweep.facts['banner'] or 'text: ' + str(sweep.jobs[0].config['data'])}")
    print(f"preset {preset.name}: {preset.purpose}; {preset.expected}")
    views = [view(job, job.folder(sweep.runs), sweep.metric) for job in sweep.jobs]
    for v in views:
        print(f"{standing(v):28} {v.job.folder(sweep.runs)}")
    missing = sum(v.state != "finished" for v in views)
    print(f"{missing} of {len(views)} runs to do, {sweep.workers} at a time; storage {masked(sweep.storage)}")
    return 0


def standing(v: View) -> str:
    """What a sweep would do with a run."""
    if v.state == "finished":
        return "done"
    if v.state == "failed":
        return "to do again (failed)"
    return f"to go on with ({v.step}/{v.updates})" if v.step else "to do"


# What came out


def report(sweep: Sweep, views: Sequence[View]) -> int:
    """Say what is done and what failed, with the end of its log; returns the number of failures."""
    failed = [v for v in views if v.state == "failed"]
    for v in failed:
        log = v.job.folder(sweep.runs) / "log.txt"
        print(f"failed: {v.job.arm} seed {v.job.seed} ({v.attempts} attempts): {v.reason}\n  {log}", file=sys.stderr)
        print("".join(f"  | {line}\n" for line in pool.tail(log).splitlines()), end="", file=sys.stderr)
    spent = sum(v.seconds for v in views)
    done = f"{len(views) - len(failed)} of {len(views)} runs done ({duration(spent)} of work)"
    print(f"{done} in {sweep.folder}" + f", {len(failed)} failed" * bool(failed), flush=True)
    return len(failed)


def unmirrored(sweep: Sweep, began: str) -> int:
    """How many of the runs that finished here since `began` (ISO time) have complained about W&B in their log."""
    finished = [job.folder(sweep.runs) for job in sweep.jobs if (job.folder(sweep.runs) / "log.txt").exists()]
    finished = [folder for folder in finished if (records.read(folder)["finished"] or "") >= began]
    return sum(b"\nW&B: " in (folder / "log.txt").read_bytes() for folder in finished)


def ranking(views: Sequence[View]) -> None:
    """The best runs of a sweep whose runs differ in more than their arm: a table of arms would compare unlikes."""
    print("these runs differ in more than arm and seed, so they are ranked, not compared arm by arm:")
    done = [(v.score, v.job.key) for v in views if v.state == "finished" and v.score is not None]
    for value, key in sorted(done, reverse=True)[:RANKED]:
        print(f"{value:8.2f}  {key}")
    print("the best of many scores on the test set is too good by luck; to compare arms at their best: make search")


def analyse(sweep: Sweep, figures: Path) -> None:
    """Draw the figures and print the table, by the same command as `make figures`."""
    line = [sys.executable, "-m", "analysis.figures", str(sweep.folder), "--out", str(figures)]
    if subprocess.run(line, check=False).returncode:
        print(f"no figures; the runs are done. Draw them by: {shlex.join(line)}", file=sys.stderr)
        return
    print(f"next: make report FROM={shlex.quote(str(sweep.folder))} (verdicts, figures, samples in one page)")


if __name__ == "__main__":
    sys.exit(command(main)())
