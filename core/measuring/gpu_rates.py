"""What `python -m core.bench --device cuda` measures: a GPU's own speed, and what training and decoding make of it.

FLOPs are those of the matrix products and of attention, as PyTorch's counter sees them, padding included.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from core.config import RunConfig, with_values
from core.machine import configure
from core.measuring.rates import Size, random_text, write_true_lengths
from core.methods import method_for
from core.networks.recording import rerun
from core.networks.replays import Replays, replaying, replays_on
from core.precision import autocast
from core.text.batches import BatchStream, decode_batches
from core.training.fixed_step import FixedStep
from core.training.job import Job
from core.training.loop import Loop
from core.training.step_modes import Mode

Row = dict[str, Any]
PAIRS = 40000


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device, width: int = 8192) -> float:
    """TFLOP/s of a bfloat16 product of two square matrices."""
    a, b = (torch.randn(width, width, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: a @ b, device, 10)
    return 2 * width**3 / seconds / 1e12


def timed(action: Callable[[], object], device: torch.device, times: int) -> float:
    """Wall-clock seconds of an action, after three that are not counted."""
    for _ in range(3):
        action()
    wait(device)
    started = time.monotonic()
    for _ in range(times):
        action()
    wait(device)
    return (time.monotonic() - started) / times


def loop_of(size: Size, batch_tokens: int, mode: Mode, device: torch.device, folder: Path, **values: Any) -> Loop:
    """A training that is about to begin."""
    config = with_values(RunConfig(), {**size.options, "batch_tokens": batch_tokens, "updates": 10**6, **values})
    method = method_for(config.method)
    torch.manual_seed(1)
    network = method.build(size.vocab, 128).to(device).train()
    stream = BatchStream(random_text(size.vocab, max(PAIRS, 4 * batch_tokens)), batch_tokens, 1)
    return Loop(network, Job(config, method, folder, stream, lambda network: {}, lambda row: None, step=mode))


def advance(loop: Loop, updates: int) -> tuple[int, list[float]]:
    """Make some updates; the target tokens in them, and the losses."""
    tokens, losses = 0, []
    for _ in range(updates):
        batch = loop.job.stream.at(loop.state.step)
        losses.append(loop.step(batch, loop.state.step).loss.clone())
        loop.state.step += 1
        tokens += batch.target_tokens
    return tokens, torch.stack(losses).tolist()


def training(size: Size, batch_tokens: int, mode: Mode, device: torch.device, updates: int) -> Row:
    """Tokens a second of the very loop that trains, once every shape was recorded; and FLOPs where it runs eagerly."""
    with tempfile.TemporaryDirectory() as folder:
        loop = loop_of(size, batch_tokens, mode, device, Path(folder))
        started = time.monotonic()
        with loop.step.apart():
            advance(loop, warm_updates(loop))
            wait(device)
            ready, began = time.monotonic() - started, time.monotonic()
            tokens, _ = advance(loop, updates)
            wait(device)
        seconds = time.monotonic() - began
        found = {"size": size.name, "batch_tokens": batch_tokens, "mode": mode, "ms": 1000 * seconds / updates}
        found |= {"tokens_per_s": tokens / seconds, "ready_s": ready}
        return found if mode != "eager" else found | {"mflop_per_token": flops(loop) / 1e6}


def warm_updates(loop: Loop) -> int:
    """Updates until, most likely, each shape came twice with and without self-conditioning."""
    return min(6 * len(loop.step.shapes), 2 * len(loop.job.stream)) if isinstance(loop.step, FixedStep) else 5


def flops(loop: Loop, updates: int = 8) -> float:
    """FLOPs of a target token in training."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = NoModules()  # type: ignore[assignment]
    with counter:
        tokens, _ = advance(loop, updates)
    return counter.get_total_flops() / tokens


class NoModules:
    """Stands for torch's record of the module that is running, which fails where gradients are off for a while."""

    parents: ClassVar = {"Global"}
    is_bw = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def decoding(size: Size, batch_tokens: int, precision: str, device: torch.device, sentences: int) -> Row:
    """Sentences a second, as written and replayed: 20 steps less 5, one candidate, lengths as of the references; and
    the share of the tokens that are the same."""
    config = with_values(RunConfig(), {**size.options, "decoding_precision": precision})
    method = method_for(config.method)
    network = method.build(size.vocab, 128).to(device).eval()
    batches = [batch.to(device) for _, batch in decode_batches(random_text(size.vocab, sentences), batch_tokens)]

    written: list[Tensor] = []

    def decode() -> None:
        written.clear()
        with torch.no_grad(), autocast(config, device, decoding=True):
            for batch in batches:
                write_true_lengths(network, batch)
                written.append(method.decode(network, batch, method.validation, 1).tokens.flatten())

    found = {"size": size.name, "batch_tokens": batch_tokens, "precision": precision}
    found |= {"sentences_per_s": sentences / timed(decode, device, 2)}
    as_written = torch.cat(written)
    with replaying(replays := replays_on(device) or Replays(rerun)):
        found |= {"replayed_sentences_per_s": sentences / timed(decode, device, 2)}
    same = (torch.cat(written) == as_written).double().mean()
    return found | {"same_tokens": float(same), "recorded_shapes": len(replays.held), "batches": len(batches)}


def together(size: Size, workers: int, device: torch.device, seconds: float) -> Row:
    """Tokens a second of several trainings at once on the device, each a process."""
    context = multiprocessing.get_context("spawn")
    begin, rates = context.Barrier(workers), context.Queue()
    arguments = (size, str(device), seconds, begin, rates)
    processes = [context.Process(target=work, args=arguments, daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    found = [rates.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return {"size": size.name, "workers": workers, "tokens_per_s": sum(found), "each": sum(found) / workers}


def work(size: Size, name: str, seconds: float, begin: Any, rates: Any) -> None:
    """One of several trainings: its rate between the moment when all are ready and some seconds later."""
    device = torch.device(name)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loop = loop_of(size, 8192 if device.type == "cuda" else 256, "auto", device, Path(folder), updates=10000)
        with loop.step.apart():
            advance(loop, warm_updates(loop))
            wait(device)
            begin.wait(timeout=300)
            started, tokens = time.monotonic(), 0
            while time.monotonic() - started < seconds:
                tokens += advance(loop, 5)[0]
                wait(device)
        rates.put(tokens / (time.monotonic() - started))


def equality(size: Size, mode: Mode, device: torch.device) -> Row:
    """Largest relative difference of the losses of 20 updates, run so and eagerly, without dropout, in float32."""
    losses = []
    for each in ("eager", mode):
        with tempfile.TemporaryDirectory() as folder:
            loop = loop_of(size, 1024, each, device, Path(folder), dropout=0.0, precision="float32")
            with loop.step.apart():
                losses.append(advance(loop, 20)[1])
    gaps = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
    return {"size": size.name, "mode": mode, "largest_relative_difference": max(gaps)}


def resuming(size: Size, mode: Mode, device: torch.device) -> Row:
    """Whether ten updates, saved after five and gone on from there, give the losses of ten without a break, to the bit;
    and the largest relative difference."""
    with tempfile.TemporaryDirectory() as folder:
        loop = loop_of(size, 1024, mode, device, Path(folder))
        with loop.step.apart():
            advance(loop, 5)
            loop.save()
            whole = advance(loop, 5)[1]
        again = loop_of(size, 1024, mode, device, Path(folder))
        with again.step.apart():
            found = advance(again, 5)[1]
    gap = max(abs(a - b) / abs(a) for a, b in zip(whole, found, strict=True))
    return {"size": size.name, "mode": mode, "same_bits": whole == found, "largest_relative_difference": gap}


def strict(size: Size, batch_tokens: int, device: torch.device, updates: int) -> Row:
    """What --deterministic costs, and whether a training resumed with it has the same bits: in a process of its own."""
    context = multiprocessing.get_context("spawn")
    rows = context.Queue()
    arguments = (size, batch_tokens, str(device), updates, rows)
    process = context.Process(target=measure_strictly, args=arguments, daemon=True)
    process.start()
    found: Row = rows.get(timeout=300)
    process.join()
    return found


def measure_strictly(size: Size, batch_tokens: int, name: str, updates: int, rows: Any) -> None:
    """Puts the row, or why there is none."""
    device = torch.device(name)
    try:
        configure(1, deterministic=True)
        rate = training(size, batch_tokens, "graph", device, updates)
        rows.put(resuming(size, "graph", device) | {"batch_tokens": batch_tokens, "ms": rate["ms"]})
    except RuntimeError as error:
        rows.put({"failed": str(error).strip().partition("\n")[0]})
