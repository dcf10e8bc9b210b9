"""One run on several processes (torchrun): each takes its rows of every batch, and gradients are summed.

The batch of a step, its t, noise and coin are those that one process would have; a rank's loss is its share of the one
loss, weighted by tokens and sentences, so that the sum over ranks is that loss whatever the rows' lengths. Losses then
agree with those of one process to rounding. Only dropout differs: each rank draws its own masks.

The ranks walk in step. What one decides (to save, to stop on a signal) all learn at the end of the step, and do alike.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from core import signals
from core.errors import UserError

T = TypeVar("T")
TIMEOUT = timedelta(hours=12)
"""How long a rank waits for another, which may be validating; torchrun ends all if one dies."""

_deferred: list[int] = []
_deferring = False


class RankLost(UserError):
    """Another rank of this run is gone."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and which of them this is. Rank 0 leads: it alone writes."""

    rank: int = 0
    size: int = 1

    @property
    def lead(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """This rank's own GPU, where GPUs are used."""
        if self.size == 1 or device.type != "cuda":
            return device
        own = int(os.environ["LOCAL_RANK"])
        if own >= torch.cuda.device_count():
            raise UserError(f"torchrun: more processes than GPUs; use --nproc-per-node {torch.cuda.device_count()}")
        torch.cuda.set_device(own)
        return torch.device("cuda", own)

    # A share of the work

    def rows(self, count: int) -> slice:
        """Which of a batch's rows are this rank's: every size-th; all of them where there are fewer rows than ranks."""
        return slice(None) if count < self.size else slice(self.rank, None, self.size)

    def share(self, items: list[T]) -> list[T]:
        """This rank's part of independent pieces of work."""
        return items[self.rank :: self.size]

    # Together: every rank must call these, in the same order

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace gradients by their sums over ranks. Every rank must have gradients of the same parameters."""
        if self.size == 1:
            return
        learned = [p for p in parameters if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in learned if p.grad is not None])
        _safely(lambda: dist.all_reduce(flat))
        for p, part in zip(learned, flat.split([p.numel() for p in learned]), strict=True):
            p.grad = part.view_as(p)

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.size > 1:
            _safely(lambda: dist.all_reduce(values))
        return values

    def merged(self, found: dict[int, T]) -> dict[int, T]:
        """What all ranks found, on every rank."""
        if self.size == 1:
            return found
        everybody: list[Any] = [None] * self.size
        _safely(lambda: dist.all_gather_object(everybody, found))
        return {key: value for each in everybody for key, value in each.items()}

    def told(self, value: T) -> T:
        """What the lead says."""
        if self.size == 1:
            return value
        said = [value]
        _safely(lambda: dist.broadcast_object_list(said, 0))
        return said[0]

    def agreed(self, wish: bool) -> bool:
        """Whether any rank wishes it. Ends all ranks alike if one of them got a signal."""
        if self.size == 1:
            return wish
        wishes = torch.tensor([int(wish), max(_deferred, default=0)])
        _safely(lambda: dist.all_reduce(wishes, dist.ReduceOp.MAX))
        if wishes[1]:
            _end(int(wishes[1]))
        return bool(wishes[0])

    def check_same(self, step: int) -> None:
        """Raises UserError if not all ranks go on from the same step: they do not see the same run folder."""
        steps = sorted(set(self.merged({self.rank: step}).values()))
        if len(steps) > 1:
            raise UserError(f"the processes of this run go on from different steps ({steps}): let them share --runs")

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            _safely(dist.barrier)


ALONE = Ranks()


def _safely(action: Callable[[], object]) -> None:
    try:
        action()
    except RuntimeError as error:
        if _deferred:
            _end(_deferred[0])
        message = "another process of this run ended (killed, or out of memory)"
        raise RankLost(f"{message}; start the same command again to go on") from error


# Signals


def _end(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _heed(number: int, frame: object) -> None:
    """Within a step only take note of a signal: the other ranks wait for this one at its end."""
    if _deferring:
        _deferred.append(number)
    else:
        _end(number)


@contextmanager
def in_step() -> Iterator[None]:
    """A part of the work at whose end all ranks ask each other (`agreed`)."""
    global _deferring
    _deferring = True
    try:
        yield
    finally:
        _deferring = False


# Coming and going


def join(device: torch.device) -> Ranks:
    """The ranks that torchrun started for a run on this kind of device; this process alone where nobody did."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    signals.handle(_heed)
    return Ranks(dist.get_rank(), size)


def leave() -> None:
    """Take leave of the other ranks; nothing where there are none."""
    if dist.is_initialized():
        dist.destroy_process_group()
