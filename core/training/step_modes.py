"""How a training step is run: as it is written, captured in CUDA graphs, or compiled besides."""

import sys
from typing import Any, Literal, get_args

import torch

from core.config import RunConfig
from core.distributed import Ranks
from core.errors import UserError
from core.methods.method import Method
from core.networks.recording import recorder_of_graphs
from core.text.batches import BatchStream
from core.text.shapes import shapes_of
from core.training.fixed_step import FixedStep
from core.training.step import Step

Mode = Literal["auto", "eager", "graph", "compiled"]
PAYS = 3.5e15
"""Parameters times target tokens from which compiling pays on a GPU: at the IWSLT14 size (34 million parameters) it
takes about 65 s, and saves 0.6 s on each million of tokens (measured on an H200)."""


def chosen(mode: Mode, device: torch.device, ranks: Ranks, work: float) -> tuple[Mode, str | None]:
    """The mode that a step is run in, never auto, and a sentence where it is not the one that was asked for.

    work: parameters times target tokens that are still to come.
    """
    if mode not in get_args(Mode):
        raise UserError(f"option step: {mode!r} is none of {', '.join(get_args(Mode))}")
    if device.type != "cuda":
        if mode == "graph":
            return "eager", "step graph: there are no CUDA graphs without a GPU; the step runs as it is written (eager)"
        return ("eager" if mode == "auto" else mode), None
    wanted: Mode = mode if mode != "auto" else "compiled" if work >= PAYS else "graph"
    if ranks.size > 1 and wanted != "eager":
        rest = "compiled without graphs" if wanted == "compiled" else "eager"
        return (
            "compiled" if wanted == "compiled" else "eager"
        ), f"step {wanted}: with several processes it runs {rest}"
    return wanted, None


def step_for(
    mode: Mode,
    network: Any,
    method: Method[Any],
    optimizer: torch.optim.Optimizer,
    config: RunConfig,
    ranks: Ranks,
    stream: BatchStream,
    done: int,
) -> Step:
    """The step of a training of which so many updates are done. Says on stderr if it is not run as was asked for."""
    device = next(network.parameters()).device
    left = (config.training.updates - done) * stream.encoded.target.lengths.sum() / len(stream)
    mode, why = chosen(mode, device, ranks, left * sum(p.numel() for p in network.parameters()))
    if why and ranks.lead:
        print(why, file=sys.stderr)
    compiling = mode == "compiled"
    if mode == "eager" or device.type != "cuda" or ranks.size > 1:
        return Step(network, method, optimizer, config, ranks, compiling)
    parts = network, method, optimizer, config, ranks, compiling
    return FixedStep(*parts, shapes=shapes_of(stream), recorder=recorder_of_graphs(device))
