"""One arm with one seed: train, decode, score and probe it into one run folder.

    python -m ablations.run --preset tiny --noise_factor 4 --token_loss anchor
    python -m ablations.run --preset tiny --method autoregressive          # another method; --help lists its options
    torchrun --nproc-per-node 2 -m ablations.run --preset gpu ...           # the same run on two GPUs

Every option of the run can be set; the preset gives the rest. The folder is runs/<study>/<arm>-s<seed>-<hash8>; the
same command again goes on with an unfinished run and leaves a finished one as it is. Under torchrun each process takes
its part of every batch (batch_tokens is that of all together), and of what is decoded; the first one alone writes.

How far it is shows one line that renews itself, or without a terminal a line at each validation and every half minute.

With --wandb, or where WANDB_MODE is set and is not disabled, the run is mirrored to W&B: that is python -m sweeps.one,
which takes the same options, and which this command then becomes. python -m sweeps.mirror runs/single tells W&B
afterwards.
"""

import dataclasses
import os
import sys
from typing import Annotated

import tyro

from ablations import command_line, presets
from ablations.place import Place
from core import methods, signals
from core.checks import check
from core.config import RunConfig
from core.errors import command, outlive_output


def _preset_help() -> str:
    return "Where all other options start. " + " ".join(f"{p.name}: {p.purpose}." for p in presets.PRESETS.values())


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of one run."""

    run: tyro.conf.FlagConversionOff[RunConfig]
    place: Place
    preset: Annotated[str, tyro.conf.arg(help=_preset_help())]
    method: Annotated[str, tyro.conf.arg(help=f"The method: {', '.join(methods.names())} (core/methods/).")]
    wandb: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="Mirror the run to W&B.")] = False


MIRRORING = "sweeps.one"
"""The command that makes the same run and mirrors it: started, not imported, for this room knows nothing of W&B."""


def parse(arguments: list[str], command_name: str = "ablations.run", description: str | None = __doc__) -> Options:
    """Preset, place and configuration from a command line; a wrong option ends the program naming the nearest."""
    preset, method, config = command_line.start(arguments, methods.DEFAULT)
    return command_line.read(
        Options,
        prog=f"python -m {command_name}",
        description=description,
        default=Options(config, Place(), preset.name, method),
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )


@command
def main() -> int:
    """Run one arm; status 0 when it is finished."""
    signals.end_on_sigterm()
    outlive_output()
    options = parse(sys.argv[1:])
    check(options.run)
    if options.wandb or os.environ.get("WANDB_MODE", "disabled") not in ("", "disabled"):
        os.execv(sys.executable, [sys.executable, "-m", MIRRORING, *sys.argv[1:]])
    from ablations.launch import launch  # brings in torch, which takes seconds: not for --help

    return launch(options.run, options.place, options.preset)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
