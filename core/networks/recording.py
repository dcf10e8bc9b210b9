"""Work over fixed tensors that is recorded once and done again: on a GPU captured in CUDA graphs."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

Recorder = Callable[[Callable[[], T]], Callable[[], T]]
"""Takes work over fixed tensors; returns how to do it again, with what the tensors hold then."""


def recorder_of_graphs(device: torch.device | None = None) -> Recorder[T]:
    """The recorder of CUDA graphs on a device, all in one pool of memory."""
    pool, own = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)

    def record(work: Callable[[], T]) -> Callable[[], T]:
        """Captures the work, which does not run it; returns how to replay it."""
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
        stream = own if current == torch.cuda.default_stream(device) else current  # the default one captures nothing
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=pool, stream=stream):
            made = work()

        def replay() -> T:
            graph.replay()
            return made

        return replay

    return record


def rerun(work: Callable[[], T]) -> Callable[[], T]:
    """The recorder where there are no graphs: the work itself."""
    return work
