"""Batches whose sentences stand in several rows each, and values put back to the places that they were picked from."""

import torch
from torch import Tensor

from core.text.batches import Batch


def repeated(batch: Batch, K: int) -> Batch:
    """The batch with each pair K times, adjacent; the source is left as it is, since its keys are shared."""
    if K == 1:
        return batch
    target, rows = batch.target.repeat_interleave(K, 0), batch.rows
    positions = batch.positions
    if positions is not None:
        L = batch.target.shape[1]
        first = positions // L * (K * L) + positions % L
        positions = torch.cat([first + copy * L for copy in range(K)])
    rows = None if rows is None else rows.repeat_interleave(K)
    return Batch(batch.source, target, K * batch.target_tokens, positions, rows)


def spread(batch: Batch, values: Tensor, mask: Tensor) -> Tensor:
    """Values that `batch.pick` gave for a mask [B, L], at their places; 0 elsewhere, [B, L]."""
    if batch.positions is None:
        return torch.where(mask, values.view(mask.shape), 0.0)
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
