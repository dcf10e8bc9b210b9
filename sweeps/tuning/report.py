"""What a search says before its first trial and after its last one."""

import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.display import duration
from core.reading.typed import printable
from core.run_folder import STUDY
from sweeps.running.conduct import Sweep
from sweeps.tuning import compare
from sweeps.tuning.points import Space, text
from sweeps.tuning.rounds import Search


def heading(search: Search) -> str:
    """What is searched, in a few lines."""
    limits = [duration(search.budget)] if search.budget else []
    limits += [f"{search.trials} trainings an arm"] if search.trials else []
    seeds = ", ".join(map(str, search.seeds))
    workers = f"{search.workers} worker" + "s" * (search.workers > 1)
    lines = [f"{search.title} · {len(search.arms)} arms · at most {', '.join(limits)} · {workers} · {search.folder}"]
    lines += [search.facts["banner"]] if search.facts["banner"] else []
    lines += [f"default: {_defaults(search)}; search seeds {seeds}; pruner {search.pruner}"]
    return printable("\n".join(lines))


def _defaults(search: Search) -> str:
    """The default point in words, with all of an option's defaults where arms differ in it: "label_smoothing 0.1 or
    0"."""
    return _together(search.spaces[arm.name].defaults for arm in search.arms)


def _together(points: Iterable[Mapping[str, Any]]) -> str:
    """The points of several arms in words, an option's values with "or" between them where arms differ in it."""
    found = dict[str, list[str]]()
    for point in points:
        for name, value in point.items():
            if (said := text({name: value}).removeprefix(f"{name} ")) not in found.setdefault(name, []):
                found[name].append(said)
    return ", ".join(f"{name} {' or '.join(values)}" for name, values in found.items())


def show_plan(search: Search, sweep: Sweep) -> None:
    """Print what would be searched."""
    print(heading(search))
    searched = dict[tuple[str, ...], list[str]]()
    for arm in search.arms:
        searched.setdefault(tuple(_lines(search.spaces[arm.name])), []).append(arm.name)
    for lines, arms in searched.items():
        print(*lines, *(f"  arm {arm}" for arm in arms), sep="\n")
    print("points that all arms share:")
    spaces = [search.spaces[arm.name] for arm in search.arms]
    for halves in ([space.training for space in spaces], [space.decoding for space in spaces]):
        for points in zip(*(half.shared for half in halves if half.dimensions), strict=True):
            print(f"  {_together(points)}")
    runs = len(sweep.jobs)
    print(f"then {runs} runs at the default in {sweep.folder}, and {runs} at each arm's own best beside it")


def _lines(space: Space) -> Iterator[str]:
    for name, dimension in space.dimensions.items():
        again = "" if name in space.training.dimensions else "  (no training needed)"
        yield f"  {name}: {dimension}{again}"


def show_best(search: Search, found: Mapping[str, Any]) -> None:
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


def analyse(search: Search, sweep: Sweep, figures: Path, compared: bool) -> bool:
    """Draw the figures and print the table, by the same commands as `make figures`; whether all went well."""
    well = True
    folders = [sweep.folder, search.runs / compare.folder(sweep.jobs[0].study)] if compared else []
    for folder in (folder for folder in folders if (folder / STUDY).exists()):
        drawn = [sys.executable, "-m", "analysis.figures", str(folder), "--out", str(figures), "--quiet"]
        well = subprocess.run(drawn, check=False).returncode == 0 and well
    line = [sys.executable, "-m", "analysis.figures", str(search.folder), "--out", str(figures)]
    if subprocess.run(line, check=False).returncode:
        print(f"no table; the search is done. Make it by: {shlex.join(line)}", file=sys.stderr)
        return False
    if (sweep.folder / STUDY).exists():
        print(f"next: make report FROM={shlex.quote(str(search.folder))} (tables, figures, samples in one page)")
    return well
