"""The calls of a network that decoding makes step after step, over fixed shapes: recorded, and replayed.

Rows and positions are filled up to one of few numbers (`rounded`), so that other batches come to the same shape. Of
each shape the first decoding runs as it is written, the second records its calls, those that follow replay them: what
is decoded once alone costs no recording, and keeps no memory.
"""

import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.networks import REPLAYED
from core.networks.recording import Recorder, recorder_of_graphs, rerun

ROWS = 16
"""Parts, as `rounded` takes them, for numbers of sentences."""

Call = Callable[..., Tensor]
"""(context, input, ...) -> output [N, L, ...]. The first input is [N, L, ...]; one may be None."""


def rounded(count: int, parts: int = 8, most: int | None = None) -> int:
    """The next number of which there are `parts` between two powers of two: at most 1 / parts larger; up to `most`."""
    step = max(1, (1 << (count - 1).bit_length()) // (2 * parts))
    found = -(-count // step) * step
    return found if most is None else max(count, min(found, most))


def enlarged(values: Tensor, *sizes: int) -> Tensor:
    """values in the first corner of zeros of these sizes (of the first dimensions); rows beyond are the last row."""
    made = values.new_zeros(*sizes, *values.shape[len(sizes) :])
    made[tuple(slice(size) for size in values.shape[: len(sizes)])] = values
    made[len(values) :] = made[len(values) - 1]
    return made


def tensors(nest: Any) -> Iterator[Tensor]:
    """The tensors of a nest of tuples and dataclasses, in order."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, tuple):
        for part in nest:
            yield from tensors(part)
    elif is_dataclass(nest):
        for each in fields(nest):
            yield from tensors(getattr(nest, each.name))


@dataclass
class Held:
    """The fixed tensors of a shape, and how to call the network with what they hold.

    context: what all calls of a decoding share. shape: rows and positions of the inputs. inputs: by their place.
    """

    context: Any
    shape: tuple[int, int]
    fills: tuple[float, ...]
    inputs: dict[int, Tensor] = field(default_factory=dict)
    again: dict[tuple[bool, ...], Callable[[], Tensor]] = field(default_factory=dict)

    def size(self) -> int:
        """Bytes of the context."""
        return sum(value.numel() * value.element_size() for value in tensors(self.context))

    def take(self, context: Any) -> None:
        """Another decoding: copy its context, and clear the inputs, whose padding the last one has written to."""
        for mine, other in zip(tensors(self.context), tensors(context), strict=True):
            mine.copy_(other)
        for place, mine in self.inputs.items():
            mine.fill_(self.fills[place])

    def give(self, place: int, value: Tensor) -> None:
        """Copy an input: [N, L, ...] into the first corner, [n] as it is."""
        sizes = self.shape if value.dim() > 1 else value.shape
        if place not in self.inputs:
            self.inputs[place] = value.new_full((*sizes, *value.shape[len(sizes) :]), self.fills[place])
        self.inputs[place][tuple(map(slice, value.shape[:2]))] = value


class Replays:
    """The recordings of a network's calls.

    room: bytes of fixed tensors that are kept at most, keys and values most of all; shapes for which there is none left
    run as they are written. At the IWSLT14 size 32,768 source tokens take 0.5 GB, and gain least.
    """

    def __init__(self, recorder: Recorder[Tensor], room: int = REPLAYED) -> None:
        self.recorder, self.room = recorder, room
        self.met: set[Hashable] = set()
        self.held: dict[Hashable, Held] = {}

    def of(
        self, call: Call, key: Hashable, context: Any, shape: tuple[int, int], fills: tuple[float, ...]
    ) -> Callable[..., Tensor]:
        """The call in one decoding, which takes the inputs alone, [N, L, ...] no larger than the shape.

        key: whatever else the call depends on. context: filled up already. fills: what stands in the padding of each
        input.
        """
        device = next(tensors(context)).device.type
        precision = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        sizes = tuple((value.shape, value.dtype) for value in tensors(context))
        whole = (key, shape, sizes, precision)
        if (held := self.held.get(whole)) is not None:
            held.take(context)
            return partial(self.made, held, call, True)
        held = Held(context, shape, fills)
        kept = whole in self.met and held.size() <= self.room
        self.met.add(whole)
        if kept:
            self.held[whole] = held
            self.room -= held.size()
        return partial(self.made, held, call, kept)

    def made(self, held: Held, call: Call, recorded: bool, *inputs: Tensor | None) -> Tensor:
        """The output for these inputs, without the padding."""
        for place, value in enumerate(inputs):
            if value is not None:
                held.give(place, value)
        there = tuple(value is not None for value in inputs)

        def work() -> Tensor:
            return call(held.context, *(held.inputs[place] if given else None for place, given in enumerate(there)))

        if recorded and there not in held.again:
            held.again[there] = self.record(work)
        found = held.again[there]() if recorded else work()
        first = inputs[0]
        assert first is not None, "it says how many rows and positions there are"
        return found[: first.shape[0], : first.shape[1]].clone()

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """How to do it again; as it is written from then on, if it cannot be captured."""

        def apart() -> Tensor:
            # Without autocast's copies of the weights, which are those of one decoding.
            with uncached():
                return work()

        try:
            return self.recorder(apart)
        except RuntimeError as error:
            why = str(error).strip().partition("\n")[0]
            print(f"decoding: its steps cannot be captured in CUDA graphs ({why}); it goes on without", file=sys.stderr)
            self.recorder = rerun
            for other in self.held.values():
                other.again.clear()
            return work


@contextmanager
def uncached() -> Iterator[None]:
    """Within it autocast keeps no copies of weights, and uses none."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


_now: Replays | None = None


@contextmanager
def replaying(replays: Replays | None) -> Iterator[None]:
    """Within it decoding records and replays its calls; with None it runs as it is written."""
    global _now
    before, _now = _now, replays
    try:
        yield
    finally:
        _now = before


def current() -> Replays | None:
    """Those of the `replaying` around."""
    return _now


def replays_on(device: torch.device, wanted: bool = True) -> Replays | None:
    """Those of a device: with CUDA graphs on a GPU, unless they are not wanted; elsewhere none."""
    return Replays(recorder_of_graphs(device)) if wanted and device.type == "cuda" else None
