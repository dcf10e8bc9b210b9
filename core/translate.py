"""Translate text, a sentence a line, with the model of a run folder or of a converted released checkpoint.

python -m core.translate runs/modules/anchor+norm+F4-s1-xxxxxxxx < source.txt > target.txt
"""

import argparse
import io
import sys
from dataclasses import replace
from pathlib import Path

from core.config import DecodingConfig
from core.errors import UserError, command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    kept = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(prog="python -m core.translate", description=__doc__, formatter_class=kept)
    made.add_argument("model", type=Path, help="a run folder, or what core.official --convert wrote")
    made.add_argument("--steps", type=int, help="decoding steps K (default: as the model's own options say)")
    made.add_argument("--early_stop", type=int, help="last steps left out (default: a quarter of --steps, if given)")
    made.add_argument("--lengths", type=int, help="lengths tried around the predicted one")
    made.add_argument("--noises", type=int, help="noises tried per length")
    made.add_argument("--seed", type=int, default=1, help="seed of the noise")
    made.add_argument("--threads", type=int, default=1, help="CPU threads")
    return made


def decoding_for(options: argparse.Namespace, default: DecodingConfig) -> DecodingConfig:
    """The model's own decoding with what the command line changes."""
    changed = {
        "length_candidates": options.lengths,
        "noise_candidates": options.noises,
        "early_stop": options.early_stop,
    }
    if options.steps is not None:
        changed |= {"decoding_steps": options.steps}
        changed["early_stop"] = options.steps // 4 if options.early_stop is None else options.early_stop
    return replace(default, **{name: value for name, value in changed.items() if value is not None})


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
    options = parser().parse_args()
    import torch  # takes seconds: not for --help

    from core import model_folder
    from core.batches import decode_batches, encode
    from core.diffusion import SpacedProcess
    from core.generation import chooser, translate
    from core.machine import settle

    settle(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, config, tokenizer = model_folder.load(options.model, device)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as the input, whatever the terminal has
    lines, decoding = read_lines(), decoding_for(options, config.decoding)
    encoded = encode([(line, "") for line in lines], tokenizer, model.max_positions, "standard input")
    if encoded.dropped:
        raise UserError(f"{next(iter(encoded.dropped))}: {len(lines) - len(encoded)} lines; shorten or split them")
    tokens = 4096 // (decoding.length_candidates * decoding.noise_candidates)
    batches = [(indices, batch.to(device)) for indices, batch in decode_batches(encoded, tokens)]
    process = SpacedProcess.build(config.diffusion, decoding)
    for text in translate(model, process, batches, decoding, tokenizer.decode, chooser(decoding), options.seed):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
