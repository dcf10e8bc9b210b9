"""Operations written out because torch's general ones take several times longer on a CPU.

`log_normaliser` is logsumexp(z E^T) with one [N, V] buffer, used in place, instead of four. `attention` pads scores to
a multiple of what the processor takes at a time: over fewer numbers torch's softmax goes one by one. `Dropout` draws
16 random bits an element. `product` is oneDNN's where torch's takes a library that does not know the processor. All are
checked against torch's own in the tests; on a GPU attention, dropout and products are torch's.
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

VECTOR = 16
"""Numbers that the processor takes at a time (AVX-512: 16 float32)."""
PIECE = 512
"""Rows of logits made at a time."""
FEW = 64
"""Rows below which torch's own product is as fast."""
NARROW = 256
"""Smaller side of a matrix from which the product is torch's: such models are decoded in bfloat16 where they can be
(core/precision.py), and where float32 is asked for all the same, it is for numbers as torch gives them."""


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


def most_likely(z: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """The type of the highest logit z E^T and its log-probability, both [N], for z [N, d_e]; not to be differentiated.

    In float32, and in pieces, so that the logits of one stay in the processor's cache.
    """
    found = []
    with torch.autocast(z.device.type, enabled=False):
        for piece in z.float().split(PIECE if z.device.type == "cpu" else max(len(z), 1)):
            top, tokens = (logits := product(piece, table)).max(-1)
            found.append((tokens, -logits.sub_(top[:, None]).exp_().sum(-1).log()))
    return torch.cat([tokens for tokens, _ in found]), torch.cat([log_p for _, log_p in found])


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over the keys where the mask is true, [B, heads, L, d].

    q: [B, heads, L, d]; k, v: [B, heads, S, d]; mask: broadcastable to [B, heads, L, S], None = all keys.
    """
    S = k.shape[2]
    if q.device.type != "cpu" or q.shape[2] == 1 or (S >= VECTOR and q.dtype == torch.float32):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    missing = -S % VECTOR
    scores = functional.pad((q @ k.transpose(-1, -2)).mul_(q.shape[-1] ** -0.5), (0, missing), value=-math.inf)
    if mask is not None:
        bias = scores.new_zeros(mask.shape).masked_fill_(~mask, -math.inf)
        scores = scores.add_(functional.pad(bias, (0, missing)))
    return scores.softmax(-1)[..., :S] @ v


@functools.cache
def wide_vectors() -> bool:
    """Whether oneDNN is there, and the processor has the vectors for which MKL knows none but Intel's processors."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, [..., out], for x [..., in] and W [out, in].

    In float32 on a CPU with AVX-512, where nothing is to be differentiated, that of a narrow matrix is oneDNN's:
    torch's is MKL's, which on another processor than Intel's uses half of its width (on an AMD EPYC 103 against 220
    GFLOP/s).
    """
    usual = torch.is_grad_enabled() or x.device.type != "cpu" or not wide_vectors()
    if usual or x.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, weight, bias)
    if x.shape[:-1].numel() < FEW or min(weight.shape) >= NARROW:
        return functional.linear(x, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


class Linear(nn.Linear):
    """nn.Linear by `product` outside of training."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return super().forward(input) if self.training else product(input, self.weight, self.bias)


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
