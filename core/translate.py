"""Translate text, a sentence a line, with the model of a run folder or of a converted released checkpoint.

    python -m core.translate runs/modules/anchor+norm+F4-s1-xxxxxxxx < source.txt > target.txt
    python -m core.translate runs/systems/autoregressive-s1-xxxxxxxx --beam 1 < source.txt

Beside the options below, any option of the decoding of the model's method can be set by its name (python -m
ablations.run --method NAME --help lists them); what is not set is as the model's own options say.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError, command
from core.options import nearest, parse_value, replaced, values_of

if TYPE_CHECKING:
    from core.model_folder import Model

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


def decoding_for(model: "Model", options: argparse.Namespace, values: dict[str, Any]) -> Any:
    """The model's own decoding with what the command line changes. Raises UserError on what its method has not."""
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
    return replaced(decoding, values) if values else decoding


def read_lines() -> list[str]:
    """Sentences on standard input. Raises UserError naming the line that is empty or not UTF-8."""
    lines = []
    for number, raw in enumerate(sys.stdin.buffer.read().splitlines(), 1):
        try:
            lines.append(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"standard input, line {number}: not UTF-8 ({error})") from error
        if not lines[-1].strip():
            raise UserError(f"standard input, line {number}: is empty; each line must hold a sentence")
    if not lines:
        raise UserError("standard input: holds no sentence")
    return lines


@command
def main() -> int:
    """Read, translate, print."""
    options, rest = parser().parse_known_args()
    values = named(rest)
    if options.threads < 1:
        raise UserError(f"option threads: {options.threads} must be at least 1")
    import torch  # takes seconds: not for --help

    from core import model_folder
    from core.machine import configure

    configure(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model_folder.load(options.model, device)
    decoding = decoding_for(model, options, values)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as the input, whatever the terminal has
    for text in model.translate(read_lines(), decoding, options.seed):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
