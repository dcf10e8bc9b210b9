"""Updates over a few fixed shapes, which can be captured in CUDA graphs.

Batches are filled up to the shapes (core/text/shapes.py). For each shape, and each set of the draws' host values (the
self-conditioning coin), one set of tensors is kept, and one recording of the update over them. Sentences and draws are
those of `Step`, but for dropout's on a GPU: without dropout both agree to rounding.
"""

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from core.networks.recording import Recorder, rerun
from core.text.batches import Batch
from core.text.shapes import Shape, fill, fitting
from core.training.step import Step, Update


@dataclass
class Held:
    """The fixed tensors of a shape, and how to update with what they hold, once it was recorded."""

    batch: Batch
    draws: Any
    again: Callable[[], Update] | None = None

    def take(self, batch: Batch, draws: Any) -> None:
        """Copy another batch and its draws into them."""
        for mine, other in ((self.batch, batch), (self.draws, draws)):
            for name, value in tensors_of(other).items():
                getattr(mine, name).copy_(value)


class FixedStep(Step):
    """An update over fixed shapes: the first of each is run as it is written, the following ones by the recorder."""

    def __init__(self, *args: Any, shapes: Sequence[Shape], recorder: Recorder[Update], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shapes, self.recorder = shapes, recorder
        self.held: dict[Hashable, Held] = {}

    def run(self, batch: Batch, draws: Any) -> tuple[Update, Batch, Any]:
        """Fill up, copy, and do it again."""
        shape = fitting(batch, self.shapes)
        batch, draws = fill(batch, shape), draws.filled(shape.rows, shape.length)
        key = (shape, *host_values(draws))
        if key not in self.held:
            self.held[key] = Held(batch, draws)
            return self.update(replace(batch), draws), batch, draws
        held = self.held[key]
        held.take(batch, draws)
        if held.again is None:
            held.again = self.record(held)
        return held.again(), replace(held.batch), held.draws

    def record(self, held: Held) -> Callable[[], Update]:
        """How to do it again; as it is written from then on, if it cannot be captured."""

        def again() -> Update:
            # Each time a new Batch around the same tensors: it keeps the masks that it has made once.
            return self.update(replace(held.batch), held.draws)

        try:
            return self.recorder(again)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            why = str(error).strip().partition("\n")[0]
            print(f"step graph: the update cannot be captured ({why}); it goes on without", file=sys.stderr)
            self.recorder = rerun
            self.optimizer.zero_grad(set_to_none=True)
            torch.manual_seed(self.dropout_key)
            return again

    @contextmanager
    def apart(self) -> Iterator[None]:
        """On a stream of their own, as capturing asks for."""
        if self.device.type != "cuda":
            yield
            return
        mine = torch.cuda.Stream(self.device)
        mine.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(mine):
            yield
        torch.cuda.current_stream(self.device).wait_stream(mine)


def tensors_of(thing: Any) -> dict[str, Tensor]:
    """The tensors among a dataclass's fields."""
    found = {each.name: getattr(thing, each.name) for each in fields(thing)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def host_values(draws: Any) -> tuple[Hashable, ...]:
    """The fields of draws that are no tensors: what the host decides."""
    return tuple(getattr(draws, each.name) for each in fields(draws) if each.name not in tensors_of(draws))
