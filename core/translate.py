"""Translate text, a sentence a line, with the model of a run folder or of a converted released checkpoint.

    python -m core.translate runs/modules/anchor+norm+F4-s1-xxxxxxxx < source.txt > target.txt
    python -m core.translate runs/systems/autoregressive-s1-xxxxxxxx --beam 1 < source.txt
    python -m core.translate RUN --noises 5 --n_best 3 < source.txt > candidates.jsonl

One line of output for each line of input (only LF ends one), blank for a blank one. From a terminal each line is
answered at once, else 1,000 lines are translated together, or what is there when the input pauses for a second.

Beside the options below, any option of the decoding of the model's method can be set by its name (python -m
ablations.run --method NAME --help lists them); what is not set is as the model's own options say.
"""

import argparse
import io
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checks import check, check_threads
from core.config import with_values
from core.errors import UserError, command
from core.line_input import Line, typed, windows
from core.options import nearest, parse_value, replaced, values_of

if TYPE_CHECKING:
    from core.line_answers import Answers
    from core.model import Model

SHORT = {"lengths": "length_candidates", "noises": "noise_candidates"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    kept = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(
        prog="python -m core.translate", description=__doc__, formatter_class=kept, allow_abbrev=False
    )
    made.add_argument("model", type=Path, help="a run folder, or what core.official --convert wrote")
    made.add_argument("--steps", type=int, help="decoding steps K; a quarter is left out unless --early_stop is given")
    made.add_argument("--lengths", type=int, help="short for --length_candidates")
    made.add_argument("--noises", type=int, help="short for --noise_candidates")
    made.add_argument("--seed", type=int, default=1, help="seed of the noise")
    made.add_argument(
        "--long",
        choices=("cut", "split", "refuse"),
        default="cut",
        help="a line with more tokens than the model takes: cut there (the default), translated in parts, or refused",
    )
    many = made.add_mutually_exclusive_group()
    many.add_argument(
        "--n_best",
        "--n-best",
        type=int,
        metavar="N",
        help="the N best candidates of each line, as rows of "
        "JSON: line, source, candidates (text, score: mean log-probability), the chosen one first",
    )
    many.add_argument("--all", action="store_true", help="all candidates, in the same form")
    made.add_argument("--threads", type=int, default=1, help="CPU threads")
    return made


def named(arguments: Sequence[str]) -> dict[str, Any]:
    """name -> value of '--name value' and '--name=value'. Raises UserError on anything else."""
    found: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        name, sign, text = rest.pop(0).partition("=")
        if not name.startswith("--") or not (sign or rest):
            raise UserError(f"{name}: expected --OPTION VALUE")
        found[name[2:].replace("-", "_")] = parse_value(text if sign else rest.pop(0))
    return found


def decoding_for(model: "Model", options: argparse.Namespace, values: dict[str, Any], best: int | None) -> Any:
    """The model's own decoding with what the command line changes, and `best` candidates if it has them.

    Raises UserError on what its method has not, and on a decoding that no run can have.
    """
    decoding, method = model.decoding, model.config.method.name
    given = {long: getattr(options, short) for short, long in SHORT.items() if getattr(options, short) is not None}
    known = {} if decoding is None else values_of(decoding, all_of_them=True)
    for name in (values := given | values):
        if name not in known:
            raise UserError(
                f"option {name}: method {method} decodes without it.{nearest(name, known) if known else ''}"
            )
    if options.steps is not None:
        stepped = model.method.with_steps(decoding, options.steps)
        if stepped is None:
            raise UserError(f"option steps: method {method} has no {options.steps} decoding steps")
        decoding = stepped
    decoding = replaced(decoding, values) if values else decoding
    if decoding is None:
        return None
    check(with_values(model.config, values_of(decoding, all_of_them=True)))
    return decoding if best is None else model.method.with_candidates(decoding, best)


def best_of(options: argparse.Namespace) -> int | None:
    """How many candidates to show of each line; None for the chosen text alone. Raises UserError for what cannot be."""
    best = sys.maxsize if options.all else options.n_best
    if best is not None and best < 1:
        raise UserError(f"option n_best: {best} must be at least 1")
    if best is not None and options.long == "split":
        raise UserError("option long: parts of a line have no candidates in common; with --n_best and --all, use cut")
    return best


def check_best(best: int | None, model: "Model", decoding: Any) -> None:
    """Raises UserError for more candidates than the decoding writes."""
    count = model.method.count(decoding)
    if best is not None and count < best < sys.maxsize:
        more = "; --lengths and --noises make more" if hasattr(decoding, "noise_candidates") else ""
        more = "; a larger --beam makes more" if hasattr(decoding, "beam") else more
        raise UserError(f"option n_best: {best}, and this decoding writes {count} for a sentence{more}")


def answer(answers: "Answers") -> None:
    """Translate standard input, each window as it comes."""
    if sys.stdin is None:
        raise UserError("standard input: is closed; give it the text, such as < source.txt")
    empty, asked = True, sys.stdin.isatty()
    batches: Iterator[list[Line]] = typed() if asked else windows(sys.stdin.fileno())
    for lines in batches:
        empty = empty and not lines
        for text in answers.of(lines):
            print(text)
        sys.stdout.flush()
    if empty and not asked:
        print("standard input: holds no line", file=sys.stderr)


@command
def main() -> int:
    """Read, translate, print."""
    options, rest = parser().parse_known_args()
    values, best = named(rest), best_of(options)
    check_threads(options.threads)
    import torch  # takes seconds: not for --help

    from core import model_folder
    from core.line_answers import PROGRESS_SECONDS, Answers, Progress
    from core.machine import configure

    configure(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model_folder.load(options.model, device)
    decoding = decoding_for(model, options, values, best)
    check_best(best, model, decoding)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as the input, whatever the terminal has
    progress = Progress(math.inf if sys.stdin and sys.stdin.isatty() else PROGRESS_SECONDS)
    answer(Answers(model, decoding, options.seed, options.long, best, progress.add))
    return 0


if __name__ == "__main__":
    sys.exit(main())
