"""Tune the nuisance parameters of each arm of a study with the same budget, then compare arms at their best.

    make search STUDY=modules BUDGET=30m
    python -m sweeps.search --study modules --budget 30m                  # the same
    python -m sweeps.search --study modules --trials 12 --trial-seeds 1   # 12 trainings an arm instead of a time
    python -m sweeps.search --only anchor+norm+F4 anchor+norm+F1 --budget 10m
    python -m sweeps.search --objectives score,time --budget 30m          # with the Pareto front against decoding time
    python -m sweeps.search --preset smoke --trials 3 --dry-run

What is tuned, and over which ranges, says the study (ablations/ranges.py: learning rate, warm-up, dropout, K, the
sampler's noise factor). The search goes in rounds: every arm trains one new point with each search seed, then decodes
its best model so far anew with some other decoding options. A round begins only if the budget has room for all arms,
so all get the same number of trials; the first is the default, the next four are the same for all arms, then TPE
proposes. Points are judged on the validation set, with search seeds 101, 102, ... that the comparison does not use.

Then the arms run with the study's seeds, at the default in runs/<study>/ (what `make sweep` makes, reused if it is
there) and at their own best in runs/<study>-tuned/; the budget does not count these. The table with both columns,
importance and figures: figures/<study>-search/. Trials are runs in runs/<study>-search/, their summary search.json.

Started again, however it ended, it goes on; with a larger budget it adds rounds. The points that are tried depend on
--search-seed and on earlier results of the same arm alone, not on the number of workers: these and their speed decide
how many rounds fit a time (--trials takes that away too). Decoding times are measured, so with score,time they enter.
"""

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ablations import command_line
from core.config import digest, flat
from core.errors import UserError, command
from sweeps import study
from sweeps.agents import sweep_file
from sweeps.running.conduct import Sweep
from sweeps.running.display import duration
from sweeps.running.storage import chosen
from sweeps.running.trials import LARGEST_SEED
from sweeps.tuning import compare
from sweeps.tuning.points import WILCOXON_SEEDS, described, space_for, text
from sweeps.tuning.rounds import DIRECTIONS, Search
from sweeps.tuning.seek import seek

PROGRAM = "sweeps.search"
FIRST_SEED = 101
"""Search seeds are 101, 102, ...; a study's own are 1, 2, ..."""
DEFAULT_BUDGET = "30m"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Options(study.Options):
    """Options of a search: those of a sweep, and how far to search."""

    budget: str | None = None
    """Wall-clock time for the search of all arms together, such as 90s, 30m or 4h; the comparison comes on top. none =
    30m, or as --trials says."""
    trials: int | None = None
    """Trainings per arm, instead of a time; with --budget, at most so many."""
    trial_seeds: int = 2
    """Seeds of each trial; its value is their mean."""
    decodings: int = 2
    """Decodings of the arm's best model that each round tries after its training."""
    pruner: Literal["auto", "median", "wilcoxon", "none"] = "auto"
    """median: end a training that is behind the median of its arm's. wilcoxon: across seeds, against the arm's best
    trial (signed ranks; needs --trial-seeds 5). auto: median; with two objectives none, which cannot be pruned."""
    objectives: str = "score"
    """score; or score,time: validation score against CPU time of decoding a sentence."""
    search_seed: int = 0
    """Seed of the points that are tried."""
    compare: bool = True
    """Run the comparison after the search."""


def main() -> int:
    """The command."""
    options = command_line.read(Options, prog=f"python -m {PROGRAM}", description=__doc__)
    sweep, search = prepare(options)
    if options.dry_run:
        return dry_run(search, sweep)
    signal.signal(signal.SIGTERM, study._terminated)
    print(heading(search), flush=True)
    with study.disk_full(search.runs):
        found = seek(search)
        report(search, found)
        failed = compare.run(sweep, search, found) if options.compare else 0
    analyse(search, sweep, options)
    return 1 if failed else 0


# What to search


def prepare(options: Options) -> tuple[Sweep, Search]:
    """The sweep of the arms at the default, and the search. Raises UserError for a wrong option; writes nothing."""
    objectives = objectives_of(options.objectives)
    pruner, budget = pruner_of(options, objectives), budget_of(options)
    if options.decodings < 0:
        raise UserError(f"--decodings {options.decodings}: must not be negative")
    if not 0 <= options.search_seed <= LARGEST_SEED:
        raise UserError(f"--search-seed {options.search_seed}: must lie between 0 and {LARGEST_SEED}")
    if sweep_file.is_one(options.study):
        raise UserError(f"--study {options.study}: a search tunes a study by its name; for a file use sweeps.agent")
    base = study.base(options)
    if base.seeds >= FIRST_SEED:
        raise UserError(f"--seeds {base.seeds}: seeds from {FIRST_SEED} on belong to the search; use fewer")
    sweep, _ = study.prepare(options, PROGRAM)
    wanted = {job.arm for job in sweep.jobs}
    title = f"{base.folder}-search"
    search = Search(
        title=title,
        study=base.study,
        arms=tuple(arm for arm in base.study.arms if arm.name in wanted),
        config=base.config,
        space=space_for(base.study, flat(base.config), options.search_seed),
        seeds=tuple(range(FIRST_SEED, FIRST_SEED + study.positive("trial-seeds", options.trial_seeds))),
        runs=options.runs,
        storage=chosen(options.storage) or str(options.runs / title / "optuna.journal"),
        name=title,
        identify=study.identify,
        metric=base.study.metric,
        pruner=pruner,
        objectives=objectives,
        decodings=options.decodings,
        trials=options.trials,
        budget=budget,
        workers=study.workers_for(options, sweep.devices),
        devices=sweep.devices,
    )
    return sweep, described_by(search, base, sweep)


def described_by(search: Search, base: study.Base, sweep: Sweep) -> Search:
    """The search with its name, which changes with whatever its trials depend on, and with what search.json says."""
    dimensions = {name: described(each) for name, each in search.space.dimensions.items()}
    settings: dict[str, Any] = {"dimensions": dimensions, "trial_seeds": len(search.seeds), "pruner": search.pruner}
    settings |= {"objectives": list(search.objectives), "decodings": search.decodings}
    settings |= {"search_seed": search.space.training.seed, "metric": search.metric}
    options = {name: value for name, value in flat(base.config).items() if name != "seed"}
    arms = {arm.name: dict(arm.values) for arm in base.study.arms}
    text_ = study.corpus_digest(base.config.data)
    name = f"{search.title}-{digest({'settings': settings, 'options': options, 'arms': arms, 'text': text_})}"
    facts: dict[str, Any] = {"study": base.folder, "name": name, "preset": base.preset.name, "settings": settings}
    facts |= {"command": sweep.facts["command"], "banner": sweep.facts["banner"], "control": base.study.control}
    facts |= {"default": base.folder, "tuned": compare.folder(base.folder)}
    return replace(search, name=name, facts=facts)


def objectives_of(text_: str) -> tuple[str, ...]:
    """'score,time' -> ('score', 'time'). Raises UserError for anything but score, alone or first."""
    names = tuple(name.strip() for name in text_.split(","))
    if names not in (("score",), tuple(DIRECTIONS)):
        raise UserError(f"--objectives {text_}: use score, or score,time")
    return names


def pruner_of(options: Options, objectives: tuple[str, ...]) -> str:
    """The pruner. Raises UserError for one that could never prune."""
    if len(objectives) > 1:
        if options.pruner not in ("auto", "none"):
            raise UserError(f"--pruner {options.pruner}: two objectives cannot be pruned; use --pruner none")
        return "none"
    if options.pruner == "wilcoxon" and options.trial_seeds < WILCOXON_SEEDS:
        raise UserError(
            f"--pruner wilcoxon: with {options.trial_seeds} seeds a trial its test cannot decide before the last one; "
            f"use --trial-seeds {WILCOXON_SEEDS} or more, or --pruner median"
        )
    return "median" if options.pruner == "auto" else options.pruner


def budget_of(options: Options) -> float | None:
    """The budget in seconds; none where only trials are counted. Raises UserError for what is no time."""
    if options.trials is not None:
        study.positive("trials", options.trials)
    given = options.budget or (DEFAULT_BUDGET if options.trials is None else None)
    if given is None:
        return None
    try:
        seconds = float(given[:-1]) * UNITS[given[-1]]
    except (KeyError, ValueError):
        raise UserError(f"--budget {given}: give a number and s, m, h or d, such as 30m") from None
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {given}: must be above 0")
    return seconds


# What is said


def heading(search: Search) -> str:
    """What is searched, in a few lines."""
    limits = [duration(search.budget)] if search.budget else []
    limits += [f"{search.trials} trainings an arm"] if search.trials else []
    seeds = ", ".join(map(str, search.seeds))
    workers = f"{search.workers} worker" + "s" * (search.workers > 1)
    lines = [f"{search.title} · {len(search.arms)} arms · at most {', '.join(limits)} · {workers} · {search.folder}"]
    lines += [search.facts["banner"]] if search.facts["banner"] else []
    lines += [f"default: {text(search.space.defaults)}; search seeds {seeds}; pruner {search.pruner}"]
    return "\n".join(lines)


def dry_run(search: Search, sweep: Sweep) -> int:
    """Print what would be searched; nothing is written."""
    print(heading(search))
    for name, dimension in search.space.dimensions.items():
        again = "" if name in search.space.training.dimensions else "  (no training needed)"
        print(f"  {name}: {dimension}{again}")
    for arm in search.arms:
        print(f"  arm {arm.name}")
    print("points that all arms share:")
    for half in (search.space.training, search.space.decoding):
        for point in half.shared:
            print(f"  {text(point)}")
    runs = len(sweep.jobs)
    print(f"then {runs} runs at the default in {sweep.folder}, and {runs} at each arm's own best beside it")
    return 0


def report(search: Search, found: Mapping[str, Any]) -> None:
    """Say what the search found for each arm."""
    print(f"{found['rounds']} rounds in {duration(found['spent_s'])}: the same for every arm", flush=True)
    for arm in search.arms:
        best, spent = found["best"][arm.name], found["spent"][arm.name]
        cost = f"{spent['trials']} trials, {spent['decodings']} decodings, {duration(spent['seconds'])} of work"
        if best is None:
            print(f"  {arm.name}: no trial came through ({cost})")
            continue
        before = "" if best["default_value"] is None else f" (default {best['default_value']:.2f})"
        print(f"  {arm.name}: {search.score_name} {best['value']:.2f}{before} at {text(best['params'])} ({cost})")
    if found["rounds"] < 2:
        print("  only the default was tried: give a larger budget, and start the same command again", file=sys.stderr)


def analyse(search: Search, sweep: Sweep, options: Options) -> None:
    """Draw the figures and print the table, by the same commands as `make figures`."""
    figures = str(options.figures)
    folders = [sweep.folder, search.runs / compare.folder(sweep.jobs[0].study)] if options.compare else []
    for folder in (folder for folder in folders if (folder / "study.json").exists()):
        drawn = [sys.executable, "-m", "analysis.figures", str(folder), "--out", figures, "--quiet"]
        subprocess.run(drawn, check=False)
    line = [sys.executable, "-m", "analysis.tuned", str(search.folder), "--out", figures]
    if subprocess.run(line, check=False).returncode:
        print(f"no table; the search is done. Make it by: {shlex.join(line)}", file=sys.stderr)
    elif (sweep.folder / "study.json").exists():
        print(f"next: make report FROM={shlex.quote(str(search.folder))} (verdicts, figures, samples in one page)")


if __name__ == "__main__":
    sys.exit(command(main)())
