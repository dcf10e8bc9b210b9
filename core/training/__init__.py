"""One training loop: validation, the k best checkpoints, exact resume.

Everything random in a step is a function of (seed, step), and a batch is a function of (seed, step), so the state to
resume from is the weights, their moving average (option ema), the optimizer's moments and the step. A run killed at any
moment and resumed ends with the same weights, bit for bit on a CPU.
"""

from typing import Any

from core import checkpoints
from core.errors import UserError
from core.training.averaging import finish
from core.training.job import Job, Outcome
from core.training.loop import Loop


def train(network: Any, job: Job) -> Outcome:
    """Train to the end (options updates, training_seconds), from the last checkpoint in the folder if there is one.

    Leaves what becomes of the best checkpoints (option averaging) in network and in folder/model.safetensors.
    """
    loop = Loop(network, job)
    loop.run()
    state = loop.state
    try:
        averaged, validated = finish(network, job, state) if loop.stopped is None else (0, {})
    except checkpoints.Damaged as error:
        raise UserError(f"{error}; start the same command again, and this training begins anew") from error
    return Outcome(state.step, state.tokens, state.seconds, averaged, loop.diverged, loop.stopped, validated)
