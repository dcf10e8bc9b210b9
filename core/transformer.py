"""Attention and layers, post-norm by default. Keys and values of cross-attention are computed once per sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.config import ModelConfig
from core.kernels import Dropout

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each [B, heads, S, d / heads]."""


@dataclass(frozen=True)
class Memory:
    """What the denoiser needs of a source sentence, computed once however many steps and candidates follow.

    layers: keys and values of each decoder layer. mask: [B, 1, 1, S], true at real positions.
    lengths: source lengths [B]. length_logits: [B, 256].
    """

    layers: tuple[KeysValues, ...]
    mask: Tensor
    lengths: Tensor
    length_logits: Tensor
    encoded: Tensor

    def detach(self) -> Self:
        """The same, cut off from the graph."""
        layers = tuple((k.detach(), v.detach()) for k, v in self.layers)
        return type(self)(layers, self.mask, self.lengths, self.length_logits.detach(), self.encoded.detach())


def feed_forward(dim: int, inner: int, out: int, activation: str) -> nn.Sequential:
    """Linear, non-linearity, linear."""
    return nn.Sequential(nn.Linear(dim, inner), ACTIVATIONS[activation](), nn.Linear(inner, out))


class SelfAttention(nn.Module):
    """Multi-head attention within a sentence; one matrix product for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, d], mask broadcastable to [B, 1, L, L] (true where a position may look) -> [B, L, d]."""
        return self.mixed(*self.split(x), mask)

    def step(self, x: Tensor, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """The next position alone, x [B, 1, d], which looks at itself and at the past -> [B, 1, d] and the new past."""
        q, k, v = self.split(x)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        return self.mixed(q, k, v, None), (k, v)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x [B, L, d], each [B, heads, L, d / heads]."""
        B, L, d = x.shape
        q, k, v = self.qkv(x).view(B, L, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def mixed(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """What the queries find, [B, L, d]."""
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(found.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention to the source. C candidates of a sentence share its keys and values without a copy."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def memory(self, encoded: Tensor) -> KeysValues:
        """Keys and values of encoded [B, S, d]."""
        B, S, d = encoded.shape
        k, v = self.kv(encoded).view(B, S, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return k, v

    def forward(self, x: Tensor, memory: KeysValues, mask: Tensor) -> Tensor:
        """x [B C, L, d] against keys of B sentences -> [B C, L, d]."""
        BC, L, d = x.shape
        B = len(memory[0])
        q = self.q(x).view(B, BC // B * L, self.heads, d // self.heads).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(q, *memory, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(BC, L, d))


class Layer(nn.Module):
    """Self-attention and feed-forward, each with residual and norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.model_dim
        self.pre_norm = config.pre_norm
        self.attention, self.attention_norm = SelfAttention(d, config.heads), nn.LayerNorm(d)
        self.ffn, self.ffn_norm = feed_forward(d, config.ffn_dim, d, config.activation), nn.LayerNorm(d)
        self.dropout = Dropout(config.dropout)

    def block(self, x: Tensor, norm: nn.Module, inner: Callable[[Tensor], Tensor]) -> Tensor:
        """x + inner(x), normed before or after."""
        if self.pre_norm:
            return x + self.dropout(inner(norm(x)))
        return norm(x + self.dropout(inner(x)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, d], mask [B, 1, 1, L] -> [B, L, d]."""
        x = self.block(x, self.attention_norm, lambda x: self.attention(x, mask))
        return self.block(x, self.ffn_norm, self.ffn)


class DecoderLayer(Layer):
    """A layer with cross-attention between the two blocks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.cross, self.cross_norm = CrossAttention(config.model_dim, config.heads), nn.LayerNorm(config.model_dim)

    def denoise(self, x: Tensor, mask: Tensor, keys: KeysValues, keys_mask: Tensor) -> Tensor:
        """x [B C, L, d], masks for [B C, 1, L, L] and [B, 1, 1, S] -> [B C, L, d]."""
        x = self.block(x, self.attention_norm, lambda x: self.attention(x, mask))
        return self.rest(x, keys, keys_mask)

    def step(
        self, x: Tensor, past: KeysValues | None, keys: KeysValues, keys_mask: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """The next position of left-to-right decoding, x [B C, 1, d] -> [B C, 1, d], and the past with it."""
        kept: list[KeysValues] = []

        def attend(x: Tensor) -> Tensor:
            found, now = self.attention.step(x, past)
            kept.append(now)
            return found

        return self.rest(self.block(x, self.attention_norm, attend), keys, keys_mask), kept[0]

    def rest(self, x: Tensor, keys: KeysValues, keys_mask: Tensor) -> Tensor:
        """What follows self-attention."""
        x = self.block(x, self.cross_norm, lambda x: self.cross(x, keys, keys_mask))
        return self.block(x, self.ffn_norm, self.ffn)


class Positions(nn.Module):
    """Learned or sinusoidal position vectors, [L, d] for the first L positions."""

    def __init__(self, count: int, dim: int, learned: bool) -> None:
        super().__init__()
        self.count = count
        if learned:
            self.table: Tensor = nn.Parameter(torch.empty(count, dim))
            nn.init.normal_(self.table, std=0.02)
        else:
            self.register_buffer("table", sinusoids(torch.arange(2.0, count + 2.0), dim), persistent=False)

    def forward(self, length: int) -> Tensor:
        """The first `length` rows."""
        return self.table[:length]


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """[sin, cos] of positions [N] at dim / 2 wavelengths from 2 pi to 10000 * 2 pi (Vaswani et al. 2017), [N, dim]."""
    half = dim // 2
    rates = torch.exp(torch.arange(half) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = positions[:, None] * rates
    return functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, dim % 2))
