"""A few fixed shapes that all batches of a training are filled up to, so that a step can be captured once for each.

A batch keeps its sentences and what is drawn for it: only padding is added, and rows that do not count.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.text.batches import Batch, BatchStream
from core.text.tokenizer import BOS, EOS, PAD

PADDING = 0.12
"""Share of padding that is aimed at, mean of both sides."""
MOST = 24
"""Most shapes: each is captured with and without self-conditioning, in about 0.3 s."""


@dataclass(frozen=True, order=True)
class Shape:
    """Positions of each side, and rows."""

    length: int
    rows: int


def shapes_of(stream: BatchStream) -> tuple[Shape, ...]:
    """The fewest shapes whose padding is at most PADDING, or MOST of them; shortest first. The same in each epoch."""
    source, target = stream.encoded.source.lengths, stream.encoded.target.lengths
    batches = stream.epoch(0)
    longest = np.array([max(source[batch].max(), target[batch].max()) for batch in batches])
    room = (source.sum() + target.sum()) / 2 / (1 - PADDING)
    tried = list(itertools.islice(groupings(longest, np.array([len(batch) for batch in batches])), MOST))
    return next((shapes for shapes, positions in tried if positions <= room), tried[-1][0])


def groupings(longest: np.ndarray, rows: np.ndarray) -> Iterator[tuple[tuple[Shape, ...], int]]:
    """The shapes that hold batches of these lengths and numbers of rows with the fewest positions, and that number of
    positions: with one shape, with at most two, ..., with one for each length. By dynamic programming over lengths."""
    lengths, which, times = np.unique(longest, return_inverse=True, return_counts=True)
    widest = np.array([rows[which == i].max() for i in range(len(lengths))])
    ends = range(1, len(lengths) + 1)
    shapes = {(i, j): Shape(int(lengths[j - 1]), int(widest[i:j].max())) for j in ends for i in range(j)}
    sizes = {(i, j): int(times[i:j].sum()) * shape.rows * shape.length for (i, j), shape in shapes.items()}
    best: dict[int, tuple[int, tuple[Shape, ...]]] = {0: (0, ())}
    for _ in ends:
        best = {0: best[0]} | {
            j: min((best[i][0] + sizes[i, j], (*best[i][1], shapes[i, j])) for i in range(j) if i in best) for j in ends
        }
        yield best[len(lengths)][1], best[len(lengths)][0]


def fitting(batch: Batch, shapes: Sequence[Shape]) -> Shape:
    """The shortest shape that holds a batch."""
    longest = max(batch.source.shape[1], batch.target.shape[1])
    return next(shape for shape in shapes if shape.length >= longest and shape.rows >= len(batch.target))


def fill(batch: Batch, shape: Shape) -> Batch:
    """The batch in this shape. A row that is none holds EOS, and BOS and EOS: attention needs something to look at."""
    counted = torch.arange(shape.rows, device=batch.source.device) < len(batch.target)
    source, target = (filled(side, shape.rows, shape.length, PAD) for side in (batch.source, batch.target))
    source[len(batch.source) :, 0] = EOS
    target[len(batch.target) :, 0], target[len(batch.target) :, 1] = BOS, EOS
    return Batch(source, target, batch.target_tokens, None, counted)


def filled(values: Tensor, rows: int, length: int | None = None, value: float = 0) -> Tensor:
    """values [B, L, ...] in a tensor [rows, length, ...] of a value; without a length [B, ...] in [rows, ...]."""
    sizes = (rows,) if length is None else (rows, length)
    made = values.new_full((*sizes, *values.shape[len(sizes) :]), value)
    made[tuple(slice(size) for size in values.shape[: len(sizes)])] = values
    return made
