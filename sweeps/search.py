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

import sys

from ablations import command_line
from core.errors import command, outlive_output
from core.run_folder import full_disk
from core.signals import end_on_sigterm
from sweeps.tuning import compare, report
from sweeps.tuning.loop import run_search
from sweeps.tuning.options import SearchOptions
from sweeps.tuning.prepare import prepare

PROGRAM = "sweeps.search"


def main() -> int:
    """The command: status 1 if a run of the comparison failed, or something could not be drawn."""
    options = command_line.read(SearchOptions, prog=f"python -m {PROGRAM}", description=__doc__)
    sweep, search = prepare(options, PROGRAM)
    if options.dry_run:
        report.show_plan(search, sweep)
        return 0
    end_on_sigterm()
    outlive_output()
    print(report.heading(search), flush=True)
    with full_disk(search.runs):
        found = run_search(search)
        report.show_best(search, found)
        failed = compare.run_comparison(sweep, search, found) if options.compare else 0
    drawn = report.analyse(search, sweep, options.figures, options.compare)
    return 1 if failed or not drawn else 0


if __name__ == "__main__":
    sys.exit(command(main)())
