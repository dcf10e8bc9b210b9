"""What a sweep says before its first run and after its last one; the whole of it."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ablations import records
from ablations.presets import Preset
from core.display import duration
from core.errors import masked_word
from core.reading.typed import printable
from core.run_folder import LOG, full_disk
from sweeps.running import plan, pool
from sweeps.running.conduct import Sweep, conduct
from sweeps.running.progress import View, view

RANKED = 10
"""So many runs are named where no table can be made."""


def conduct_and_report(sweep: Sweep, figures: Path) -> int:
    """Run a sweep, and say what came out; the command's status: 1 if a run failed or there are no figures."""
    began = records.now()
    with full_disk(sweep.runs):
        views = conduct(sweep)
    failed = show_result(sweep, views)
    show_unmirrored(sweep, began)
    if not plan.comparable(sweep.jobs):
        show_ranking(views)
    elif failed < len(views) and not analyse(sweep, figures):
        return 1
    return 1 if failed else 0


def show_plan(sweep: Sweep, preset: Preset) -> int:
    """Print what would run; how many runs that are."""
    text = sweep.facts["banner"] or f"text: {sweep.jobs[0].config['data']}"
    print(printable("\n".join(filter(None, [sweep.heading, text, sweep.facts.get("scoring")]))))
    print(f"preset {preset.name}: {preset.purpose}; {preset.expected}")
    if own := fixed_here(sweep):
        print(f"the study sets itself: {own}; --set takes others")
    views = [view(job, job.folder(sweep.runs), sweep.metric) for job in sweep.jobs]
    for v in views:
        print(printable(f"{standing(v):28} {v.job.folder(sweep.runs)}"))
    missing = sum(v.state != "finished" for v in views)
    storage = printable(masked_word(sweep.storage))
    print(f"{missing} of {len(views)} runs to do, {sweep.workers} at a time; storage {storage}")
    return missing


def fixed_here(sweep: Sweep) -> str:
    """The options that the study fixes for all arms and that these runs have: "updates 1000"."""
    options = [job.config for job in sweep.jobs]
    fixed = sweep.facts.get("fixed", {}).items()
    return ", ".join(f"{n} {value}" for n, value in fixed if any(value == each.get(n) for each in options))


def standing(v: View) -> str:
    """What a sweep would do with a run."""
    if v.state == "finished":
        return "done"
    if v.state == "failed":
        return "to do again (failed)"
    return f"to go on with ({v.done}/{v.total})" if v.done else "to do"


def show_result(sweep: Sweep, views: Sequence[View]) -> int:
    """Say what is done and what failed, with the end of its log; returns the number of failures."""
    failed = [v for v in views if v.state == "failed"]
    for v in failed:
        log = v.job.folder(sweep.runs) / LOG
        said = f"failed: {v.job.arm} seed {v.job.seed} ({v.attempts} attempts): {v.reason}\n  {log}"
        print(printable(said), file=sys.stderr)
        print("".join(f"  | {line}\n" for line in pool.tail(log).split("\n")), end="", file=sys.stderr)
    spent = sum(v.seconds for v in views)
    done = f"{len(views) - len(failed)} of {len(views)} runs done ({duration(spent)} of work)"
    print(f"{done} in {sweep.folder}" + f", {len(failed)} failed" * bool(failed), flush=True)
    return len(failed)


def unmirrored(sweep: Sweep, began: str) -> int:
    """How many of the runs that finished here since `began` (ISO time) have complained about W&B in their log."""
    logged = [folder for job in sweep.jobs if ((folder := job.folder(sweep.runs)) / LOG).exists()]
    finished = [folder for folder in logged if (records.read(folder)["finished"] or "") >= began]
    return sum(b"\nW&B: " in (folder / LOG).read_bytes() for folder in finished)


def show_unmirrored(sweep: Sweep, began: str) -> None:
    """Say which command tells W&B what it missed of the runs that finished here since `began`."""
    if missing := unmirrored(sweep, began):
        said = f"W&B does not have all of {missing} run{'s' * (missing > 1)} ({LOG} in their folders says why)"
        print(f"{said}; python -m sweeps.mirror {sweep.folder} writes them anew", file=sys.stderr)


def show_ranking(views: Sequence[View]) -> None:
    """The best runs of a sweep whose runs differ in more than their arm: a table of arms would compare unlikes."""
    print("these runs differ in more than arm and seed, so they are ranked, not compared arm by arm:")
    done = [(v.score, v.job.key) for v in views if v.state == "finished" and v.score is not None]
    for value, key in sorted(done, reverse=True)[:RANKED]:
        print(f"{value:8.2f}  {printable(key)}")
    print("the best of many scores on the test set is too good by luck; to compare arms at their best: make search")


def analyse(sweep: Sweep, figures: Path) -> bool:
    """Draw the figures and print the table, by the same command as `make figures`; whether that went well."""
    line = [sys.executable, "-m", "analysis.figures", str(sweep.folder), "--out", str(figures)]
    if subprocess.run([*line, "--brief"], check=False).returncode:
        print(f"no figures; the runs are done. Draw them by: {shlex.join(line)}", file=sys.stderr)
        return False
    report = f"make report FROM={shlex.quote(str(sweep.folder))}"
    print(f"figures, and how to read all this: {figures / sweep.folder.name}/table.md; in one page: {report}")
    return True
