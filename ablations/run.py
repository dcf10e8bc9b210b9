"""One arm with one seed: train, decode, score and probe it into one run folder.

    python -m ablations.run --preset tiny --noise_factor 4 --token_loss anchor

    torchrun --nproc-per-node 2 -m ablations.run --preset gpu ...           # the same run on two GPUs

Every option of the run can be set; the preset gives the rest. The folder is runs/<study>/<arm>-s<seed>-<hash8>; the
same command again goes on with an unfinished run and leaves a finished one as it is. Under torchrun each process takes
its part of every batch (batch_tokens is that of all together), and of what is decoded; the first one alone writes.

W&B is told nothing, whatever WANDB_MODE says; python -m sweeps.mirror runs/single tells it afterwards. The runs of a
sweep are told at once.
"""

import dataclasses
import os
import re
import signal
import sys
from typing import Annotated

import tyro

from ablations import command_line, presets, records
from ablations.arm import Place, accompany, execute, folder_of, single_arm
from ablations.materials import device_for
from core import distributed
from core.checks import check
from core.config import RunConfig, check_choice
from core.distributed import RankLost, Ranks
from core.errors import UserError, command


def _preset_help() -> str:
    return "Where all other options start. " + " ".join(f"{p.name}: {p.purpose}." for p in presets.PRESETS.values())


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of one run."""

    run: RunConfig
    place: Place
    preset: Annotated[str, tyro.conf.arg(help=_preset_help())]


def parse(arguments: list[str]) -> Options:
    """Preset, place and configuration from a command line; a wrong option ends the program naming the nearest."""
    preset = presets.get(given_preset(arguments))
    for name, value in given_pairs(arguments):
        check_choice(name, value)
    return command_line.read(
        Options,
        prog="python -m ablations.run",
        description=__doc__,
        default=Options(preset.config, Place(), preset.name),
        args=arguments,
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes),
    )


def given_pairs(arguments: list[str]) -> list[tuple[str, str]]:
    """(name, value) of each '--name value' and '--name=value'."""
    split = [argument.partition("=") for argument in arguments]
    following = [*arguments[1:], ""][: len(arguments)]
    named = [(*part, after) for part, after in zip(split, following, strict=True) if part[0].startswith("--")]
    return [(name[2:].replace("-", "_"), value if sign else after) for name, sign, value, after in named]


def given_preset(arguments: list[str]) -> str:
    """The preset named on a command line, or the usual one."""
    given = dict(given_pairs(arguments))
    return given.get("preset", presets.default_for(given.get("data")))


def check_place(place: Place) -> None:
    """Raises UserError on a place no run can have."""
    device_for(place.device)
    if place.threads < 1:
        raise UserError(f"option threads: {place.threads} must be at least 1")
    if not re.fullmatch(r"[\w.=+-]+", place.study) or place.study in (".", ".."):
        raise UserError(f"option study: {place.study!r} names a folder; use letters, digits and . _ = + -")
    try:
        (place.runs / place.study).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"option runs: {place.runs} cannot be made ({error.strerror})") from error


@command
def main() -> int:
    """Run one arm; status 0 when it is finished."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse(sys.argv[1:])
    check(options.run)
    check_place(options.place)
    ranks = distributed.join(device_for(options.place.device))
    try:
        return lead(options, ranks) if ranks.lead else follow(options, ranks)
    finally:
        distributed.leave()


def lead(options: Options, ranks: Ranks) -> int:
    """Run the arm, with the other ranks if there are any."""
    config, place = options.run, options.place
    tuning = {"trials": 0, "note": presets.get(options.preset).tuning}
    arm = single_arm(config)
    folder = folder_of(config, arm, place.study, place.runs, preset=options.preset, tuning=tuning)
    if records.read(folder)["state"] == "finished":
        print(f"{folder}: finished already")
        ranks.told(None)
        return 0
    if not records.claim(folder):
        raise UserError(f"{folder}: another process runs this arm")
    try:
        ranks.told(folder)
        found = execute(config, folder, records.NullTracker(), place, ranks)
    except UserError as error:
        records.fail(folder, str(error), refused=True)
        raise
    except (KeyboardInterrupt, SystemExit):
        records.suspend(folder)
        raise
    except Exception as error:
        records.fail(folder, f"{type(error).__name__}: {error}")
        raise
    finally:
        records.release(folder)
    print(f"{folder}: BLEU {found['bleu']:.2f} (brevity penalty {found['brevity_penalty']:.3f}, {found['signature']})")
    return 0


def follow(options: Options, ranks: Ranks) -> int:
    """One of the other ranks; when the first one ends early, it is that one's to say why."""
    try:
        folder = ranks.told(None)
        if folder is not None:
            accompany(options.run, folder, options.place, ranks)
    except RankLost:
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
