"""Write a study as a W&B sweep file, and register it where there is a server. The command behind `make wandb-sweep`.

    python -m sweeps.wandb_sweep --study modules                       # a grid: every arm with every seed
    python -m sweeps.wandb_sweep --study modules --search random       # arms with drawn nuisance parameters

The file, sweeps/wandb/<name of the study's folder>.yaml, gives the same runs to `wandb agent` (with a server), to
`python -m sweeps.agent FILE` (without) and to `python -m sweeps.study --study FILE` (without the sweep's id in W&B). A
search draws arms as well as ranges, so each arm gets about the same number of points; for exactly the same budget use
`make search`. The points that W&B's server draws are its own; the other two draw the same ones.
"""

import shlex
import sys

from ablations import command_line
from core.errors import UserError, command
from sweeps.running import pool
from sweeps.running.write_sweep import FileOptions, describe, names_varied, render, write
from sweeps.wb import connection, register_sweep


def main() -> int:
    """The command."""
    options = command_line.read(FileOptions, prog="python -m sweeps.wandb_sweep", description=__doc__)
    mode = connection.mode()
    if options.points is not None and not options.search:
        raise UserError("--points: a grid has the points it has; with --search random it means something")
    if options.search == "bayes" and mode != "online":
        raise UserError("--search bayes: W&B's server chooses its points, and there is none; use --search random")
    content = describe(options)
    path = options.out / f"{content['name']}.yaml"
    write(path, render(content, options), options.overwrite)
    print(f"{path}: {content['method']} over {', '.join(names_varied(content))}")
    if options.search != "bayes":
        line = [register_sweep.interpreter(), "-m", "sweeps.agent", str(path), "--workers", str(pool.cores())]
        print(f"without a server:  {shlex.join(line)}\nor without its id: make sweep STUDY={shlex.quote(str(path))}")
    if mode == "online" and options.register:
        print(f"with W&B:          {register_sweep.register(content)}")
    else:
        why = "no key or no server (WANDB_API_KEY, `wandb login`)" if mode == "offline" else f"W&B is {mode}"
        print(f"not registered: {why if options.register else '--no-register'}; to do it: wandb sweep {path}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main)())
