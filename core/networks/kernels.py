"""Two operations written out because torch's general ones take several times longer on a CPU.

`log_normaliser` is logsumexp(z E^T) with one [N, V] buffer, used in place, instead of four. `Dropout` draws 16 random
bits an element. Both are checked against torch's own in the tests; on a GPU dropout is torch's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _LogNormaliser(torch.autograd.Function):
    """logsumexp(z E^T) over V; saves the unnormalised softmax for the backward pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, table: Tensor) -> Tensor:
        logits = (z @ table.T).float()
        top = logits.amax(-1)
        weights = logits.sub_(top[:, None]).exp_()
        total = weights.sum(-1)
        ctx.save_for_backward(z, table, weights, total)
        return top + total.log()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, table, weights, total = ctx.saved_tensors
        share = weights.mul_((grads[0] / total)[:, None]).to(z.dtype)
        grad_z = share @ table.to(z.dtype) if ctx.needs_input_grad[0] else None
        grad_table = (share.T @ z).to(table.dtype) if ctx.needs_input_grad[1] else None
        return grad_z, grad_table


def log_normaliser(z: Tensor, table: Tensor) -> Tensor:
    """log sum_v exp(z E_v), [N], for z [N, d_e] and table [V, d_e]; can be differentiated once."""
    return _LogNormaliser.apply(z, table)


class Dropout(nn.Module):
    """Inverted dropout with probability p (to within 2^-16 on a CPU)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x with a share p of its elements zero and the others scaled by 1 / (1 - p); x itself in evaluation."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p, True)
        return x * (random_int16(x.numel()).view(x.shape) >= round(self.p * 65536) - 32768).to(x.dtype).mul_(
            1.0 / (1.0 - self.p)
        )


def random_int16(count: int) -> Tensor:
    """Uniform 16-bit integers [count] from torch's global generator, four to a draw."""
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:count]
