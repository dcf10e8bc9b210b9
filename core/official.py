"""Replay what the released implementation recorded, and read its checkpoints.

    python -m core.official CASE.npz
    python -m core.official --checkpoint checkpoint.pt --dict dict.txt --case case.npz [--convert DIR]

Prints one JSON object: the largest difference of each quantity (absolute, or relative where the recorded value exceeds
one) and whether the tokens are identical. Of systems beside Difformer also the largest difference as a share of its
array's largest value.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from core.errors import UserError, command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m core.official", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("recording", nargs="?", type=Path, help="a recorded case with its weights (.npz)")
    made.add_argument("--checkpoint", type=Path, help="checkpoint file of the released code")
    made.add_argument("--dict", type=Path, dest="dictionary", help="its dict.txt")
    made.add_argument("--case", type=Path, help="a recorded decoding to reproduce")
    made.add_argument("--convert", type=Path, metavar="DIR", help="write the checkpoint to DIR in our format")
    return made


def answer(options: argparse.Namespace) -> dict[str, Any]:
    """The report for a command line."""
    import torch  # takes seconds: not for --help

    from core.released.replay import check_checkpoint, convert, replay

    torch.set_num_threads(1)
    if options.recording is not None:
        return replay(options.recording)
    if options.checkpoint is None or options.dictionary is None:
        raise UserError("name a recording (.npz), or --checkpoint and --dict")
    report, model, config = check_checkpoint(options.checkpoint, options.dictionary, options.case)
    if options.convert is not None:
        convert(model, config, options.dictionary, options.convert)
        report["converted"] = str(options.convert)
    return report


def plain(report: Any) -> Any:
    """The report as JSON knows it: what is no finite number becomes null."""
    if isinstance(report, dict):
        return {name: plain(value) for name, value in report.items()}
    return None if isinstance(report, float) and not math.isfinite(report) else report


def agrees(report: dict[str, Any]) -> bool:
    """Whether everything agrees to 1e-5, arrays also to 1e-4 of their largest value, and all tokens are identical."""
    near = report.get("largest", 0.0) <= 1e-5 and report.get("largest_share", 0.0) <= 1e-4
    return near and bool(report.get("tokens_identical", True))


@command
def main() -> int:
    """Status 0 if everything agrees (see `agrees`), 1 if not."""
    options = parser().parse_args()
    where = options.recording or options.case or options.checkpoint
    try:
        report = answer(options)
    except KeyError as error:
        raise UserError(f"{where}: lacks {error}, which it should hold") from error
    except (RuntimeError, ValueError, TypeError, AttributeError, ArithmeticError, IndexError, StopIteration) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{where}: arrays and options do not fit ({reason})") from error
    print(json.dumps(plain(report), indent=1, ensure_ascii=False, allow_nan=False))
    return 0 if agrees(report) else 1


if __name__ == "__main__":
    sys.exit(main())
