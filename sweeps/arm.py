"""One arm of a study with one seed: the program that the agents of a W&B sweep start.

    python -m sweeps.arm --study=modules --anchor_loss=True --embedding_norm=False --noise_factor=4 --seed=2
    python sweeps/arm.py --study=noise_factor --noise_factor=2 --preset=smoke --updates=20

    --study --preset --data --src --tgt   as of sweeps.study: which study, on which text, at which size
    --runs                                folder of all runs (runs)
    --folder                              name of the study's folder (made from the study and what differs from it)
    --seed                                the seed (1)
    --FACTOR=LEVEL                        every factor that the study varies (ablations/factors.py)
    --OPTION=VALUE                        any option of a run that the study leaves alone (python -m ablations.run -h)

Where a factor of the study and an option share a name, the factor is meant. The run lands in the folder where
`make sweep` would put it, and is made once, whoever makes it: if it is there already, W&B is shown what is there.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by its path: the packages lie beside this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from ablations import records
from core.display import score_name
from core.errors import UserError, command, outlive_output
from core.reading import parse_json
from core.run_folder import LOG, SCORES, read
from core.signals import end_on_sigterm
from sweeps.running import attempt, plan, pool
from sweeps.running.options import typed
from sweeps.running.point_runs import run_of
from sweeps.running.recipe import enroll
from sweeps.wb import connection, tracking

POLL_SECONDS = 1.0


def values(arguments: Sequence[str]) -> dict[str, Any]:
    """What a command line says: --name=value, --name value, name=value, --name (true), or one JSON mapping."""
    found: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument.startswith("{"):
            try:
                found |= dict(parse_json(argument))
            except ValueError as error:
                raise UserError(f"{argument!r}: not JSON ({error})") from error
            continue
        name, sign, text = argument.removeprefix("--").partition("=")
        if not sign and not argument.startswith("--"):
            raise UserError(f"{argument!r}: expected --name=value, e.g. --seed=2")
        if not sign:
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "True"
        found[name] = plan.parse(f"{name}={text}")[1]
    return found


def main(execute: attempt.Execute = attempt.train_and_score) -> int:
    """The command: status 0 when the run is finished, 1 when it failed."""
    if {"-h", "--help"} & set(sys.argv[1:]) or not sys.argv[1:]:
        print(__doc__)
        return 0
    connection.check_mode()
    end_on_sigterm(pool.GRACE_SECONDS)
    outlive_output()
    made = run_of(values(sys.argv[1:]))
    folder = made.job.create(made.runs)
    enroll(folder.parent, made.recipe.facts([made.job], typed("sweeps.arm")))
    if not claim(folder):
        print(f"{folder}: finished already", flush=True)
        if os.environ.get("WANDB_SWEEP_ID") and (mode := connection.mode()) != "disabled":
            tracking.mirror(folder, mode)
        return 0
    try:
        with attempt.output_to(folder / LOG):
            attempt.attempt(made.job, folder, execute)
    except Exception as error:
        print(f"{folder}: failed: {attempt.reason_of(error)}", file=sys.stderr)
        print(pool.tail(folder / LOG), file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    finally:
        records.release(folder)
    metric = made.recipe.study.metric
    print(f"{folder}: {score_name(metric)} {read(folder / SCORES).get(metric)}")
    return 0


def claim(folder: Path) -> bool:
    """Take the run: True if it is ours to run, False if it is finished; waits while another process has it."""
    told = False
    while not records.claim(folder):
        if records.read(folder)["state"] == "finished":
            return False
        if not told:
            print(f"{folder}: another process runs this arm; waiting for it", flush=True)
        told = True
        time.sleep(POLL_SECONDS)
    return True


if __name__ == "__main__":
    sys.exit(command(main)())
