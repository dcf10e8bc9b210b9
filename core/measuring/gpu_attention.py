"""Forms of attention for short sentences, measured on a GPU beside each other; training takes `sdpa`."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.measuring.gpu_rates import Row, timed

Form = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(q, k, v, each [B, heads, L, d], mask [B, 1, 1, L]) -> [B, heads, L, d]."""

HEADS, WIDTH = 4, 128
"""Of the IWSLT14 size."""
BACKENDS = {
    "sdpa": None,
    "sdpa, efficient": SDPBackend.EFFICIENT_ATTENTION,
    "sdpa, cudnn": SDPBackend.CUDNN_ATTENTION,
    "sdpa, math": SDPBackend.MATH,
}
FORMS = (*BACKENDS, "products", "products, compiled")


def products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Batched products and softmax, written out."""
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v


def by_backend(backend: SDPBackend | None, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Torch's own, by one of its kernels; None: as it chooses, which is what the network does on a GPU."""
    with nullcontext() if backend is None else sdpa_kernel(backend):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def form_of(name: str) -> Form:
    """A form by its name."""
    if name in BACKENDS:
        return partial(by_backend, BACKENDS[name])
    return products if name == "products" else torch.compile(products, dynamic=True)


def attention(name: str, length: int, device: torch.device, positions: int = 8192) -> Row:
    """Milliseconds of forward and backward in bfloat16, of so many positions in sentences of a length."""
    rows, form = positions // length, form_of(name)
    shape = (rows, length, HEADS, WIDTH)
    made: list[Any] = [torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    q, k, v = (part.transpose(1, 2) for part in made)
    mask = torch.arange(length, device=device) < torch.randint(length // 2, length + 1, (rows, 1, 1, 1), device=device)

    def both() -> None:
        found = form(q, k, v, mask)
        torch.autograd.grad(found, made, found.detach())

    wanted = products(q.float(), k.float(), v.float(), mask)
    gap = float((form(q, k, v, mask).detach().float() - wanted.detach()).abs().max())
    return {"form": name, "length": length, "rows": rows, "ms": 1000 * timed(both, device, 20), "largest_gap": gap}
