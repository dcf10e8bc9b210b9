"""Score finished runs anew from what they wrote (samples.jsonl); nothing is trained or decoded.

    python -m ablations.rescore runs/modules                                   (make rescore)
    python -m ablations.rescore runs/modules --bleu_tokenizer intl             # another tokenizer
    python -m ablations.rescore runs/modules --metric my_metrics:comet         # a function of yours, in my_metrics.py

A function of yours gets (hypotheses, references as a list of lists, sources) and returns a number, or one for each
sentence; higher is better. Its score stands in tables and reports; figures and report judge the study by it with
--metric comet. Runs are replaced all at the end: whatever fails before leaves all as it was.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from core.errors import UserError, command, outlive_output
from core.scoring.own import Own
from core.scoring.tokenizers import AUTO, NAMES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m ablations.rescore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path, help="folder of a study, such as runs/modules, or of one run")
    words = "BLEU's tokenizer (default: what the run names, else auto: by the script of the references)"
    made.add_argument("--bleu_tokenizer", choices=[AUTO, *NAMES], help=words)
    made.add_argument("--metric", action="append", default=[], metavar="MODULE:FUNCTION", help="a metric of your own")
    made.add_argument("--name", action="append", default=[], help="its name (default: the function's)")
    return made


def metrics_of(specs: Sequence[str], names: Sequence[str]) -> list[Own]:
    """The metrics of a command line. Raises UserError on one that cannot be loaded, and on two of one name."""
    if len(names) > len(specs):
        raise UserError(f"--name {names[-1]}: names a --metric, and there are {len(specs)} of them")
    found = [Own.named(spec, name) for spec, name in zip_longest(specs, names)]
    known = [metric.name for metric in found]
    for name in known:
        if known.count(name) > 1:
            raise UserError(f"--metric: two are called {name}; give each a --name")
    return found


@command
def main() -> int:
    """Score, write, and say what became of each run."""
    outlive_output()
    options = parser().parse_args()
    own = metrics_of(options.metric, options.name)
    from ablations.rescoring import finished, replace, rescored

    made, folders = [], finished(options.folder)
    for number, folder in enumerate(folders, start=1):
        if sys.stderr.isatty():
            print(f"scoring {number} of {len(folders)}: {folder.name}", file=sys.stderr)
        made.append(rescored(folder, options.bleu_tokenizer, own))
    replace(options.folder, made)
    for run in made:
        print(run.line)
    for why, count in Counter(run.kept for run in made if run.kept).items():
        print(f"the floor of {count} run{'s' * (count > 1)} is that of the same outputs as before: {why}")
    print(f"{len(made)} runs scored anew; make figures and make report show it (W&B: python -m sweeps.mirror)")
    tuned = options.folder.with_name(f"{options.folder.name}-tuned")
    if tuned.is_dir():
        print(f"the arms at their own best are not among them: make rescore STUDY={tuned.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
