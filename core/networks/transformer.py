"""Attention and layers, post-norm by default. Keys and values of cross-attention are computed once per sentence."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.compiling import compilable
from core.networks.kernels import VECTOR, Dropout, Linear, attention
from core.networks.replays import enlarged
from core.sections import NetworkConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each [B, heads, S, d / heads]."""


def feed_forward(dim: int, inner: int, out: int, activation: str) -> nn.Sequential:
    """Linear, non-linearity, linear."""
    return nn.Sequential(Linear(dim, inner), ACTIVATIONS[activation](), Linear(inner, out))


def by_heads(joined: Tensor, parts: int, heads: int) -> list[Tensor]:
    """The parts of [B, L, parts d], each [B, heads, L, d / heads].

    Taken apart before heads and positions change places: the gradient then arrives in the layout of `joined`, and is
    not copied once more.
    """
    B, L, width = joined.shape
    return [part.transpose(1, 2) for part in joined.view(B, L, parts, heads, width // parts // heads).unbind(2)]


class Folded(NamedTuple):
    """A memory of cross-attention that is looked at many times, with the attention's own matrices multiplied into it.

    keys, values: [B, heads S, d]; offsets: [B, 1, heads S], -inf at what is no key; S is a multiple of VECTOR.
    For short sources it takes less than half of the products, and without matrices as thin as a head.
    """

    keys: Tensor
    offsets: Tensor
    values: Tensor
    heads: int


Memories = tuple[KeysValues | Folded, ...]
"""Of each decoder layer."""


def folds(memory: KeysValues) -> bool:
    """Whether a folded memory takes fewer products: heads S columns, in place of d and S."""
    _, heads, S, width = memory[0].shape
    return heads * (S + -S % VECTOR) < heads * width + S


def filled_keys(layers: tuple[KeysValues, ...], rows: int, length: int) -> tuple[KeysValues, ...]:
    """Keys and values of so many sentences of so many positions."""
    return tuple((enlarged(k, rows, k.shape[1], length), enlarged(v, rows, v.shape[1], length)) for k, v in layers)


class SelfAttention(nn.Module):
    """Multi-head attention within a sentence; one matrix product for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.out = Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, d], mask broadcastable to [B, 1, L, L] (true where a position may look) -> [B, L, d]."""
        return self.attend(*self.split(x), mask)

    def step(self, x: Tensor, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """The next position alone, x [B, 1, d], which looks at itself and at the past -> [B, 1, d] and the new past."""
        q, k, v = self.split(x)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        return self.attend(q, k, v, None), (k, v)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x [B, L, d], each [B, heads, L, d / heads]."""
        q, k, v = by_heads(self.qkv(x), 3, self.heads)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """What queries [B, heads, L, d / heads] find among keys and values [B, heads, S, d / heads], [B, L, d]."""
        found = attention(q, k, v, mask)
        return self.out(found.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention to the source. C candidates of a sentence share its keys and values without a copy."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(dim, dim)
        self.kv = Linear(dim, 2 * dim)
        self.out = Linear(dim, dim)

    def memory(self, encoded: Tensor) -> KeysValues:
        """Keys and values of encoded [B, S, d]."""
        k, v = by_heads(self.kv(encoded), 2, self.heads)
        return k, v

    def fold(self, memory: KeysValues, mask: Tensor) -> "Folded":
        """The memory with the matrices of queries and output multiplied into it, mask [B, 1, 1, S]; not to be
        differentiated. q_h K_h^T = x (W_q,h K_h^T), and out(sum_h a_h V_h) = sum_h a_h (V_h W_o,h)."""
        B, H, S, width = memory[0].shape
        missing, scale = -S % VECTOR, width**-0.5

        def through(part: Tensor, matrix: Tensor) -> Tensor:
            """[B, heads, S, d / heads] times a matrix for each head, [B, heads, S padded, columns]."""
            rows = functional.pad(part, (0, 0, 0, missing)).transpose(0, 1).reshape(H, -1, width)
            return (rows @ matrix.view(H, width, -1)).view(H, B, S + missing, -1).transpose(0, 1)

        keys = through(memory[0], scale * self.q.weight)
        offsets = through(memory[0], scale * self.q.bias).squeeze(-1)
        offsets = offsets.masked_fill(~functional.pad(mask[:, :, 0], (0, missing)), -math.inf)
        values = through(memory[1], self.out.weight.T.contiguous())
        return Folded(keys.flatten(1, 2), offsets.reshape(B, 1, -1), values.flatten(1, 2), H)

    def look(self, x: Tensor, memory: "Folded") -> Tensor:
        """What `forward` gives, of a folded memory."""
        B, seen = len(memory.keys), x.view(len(memory.keys), -1, x.shape[-1])
        scores = torch.baddbmm(memory.offsets.to(seen.dtype), seen, memory.keys.transpose(1, 2).to(seen.dtype))
        weights = scores.view(B, seen.shape[1], memory.heads, -1).softmax(-1).view_as(scores)
        return (weights @ memory.values.to(weights.dtype) + self.out.bias).view_as(x)

    def forward(self, x: Tensor, memory: "KeysValues | Folded", mask: Tensor) -> Tensor:
        """x [B C, L, d] against keys of B sentences, mask [B, 1, 1, S] -> [B C, L, d]."""
        if isinstance(memory, Folded):
            return self.look(x, memory)
        BC, L, d = x.shape
        B = len(memory[0])
        q = self.q(x).view(B, BC // B * L, self.heads, d // self.heads).transpose(1, 2)
        mixed = attention(q, *memory, mask)
        return self.out(mixed.transpose(1, 2).reshape(BC, L, d))


class Layer(nn.Module):
    """What an encoder's and a decoder's layer share: self-attention and feed-forward, residuals and norms."""

    def __init__(self, config: NetworkConfig) -> None:
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


class EncoderLayer(Layer):
    """Self-attention, feed-forward."""

    @compilable
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, S, d], mask [B, 1, 1, S] -> [B, S, d]."""
        x = self.block(x, self.attention_norm, lambda x: self.attention(x, mask))
        return self.block(x, self.ffn_norm, self.ffn)


class DecoderLayer(Layer):
    """Self-attention, cross-attention to the source, feed-forward."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.cross, self.cross_norm = CrossAttention(config.model_dim, config.heads), nn.LayerNorm(config.model_dim)

    @compilable
    def forward(self, x: Tensor, mask: Tensor, keys: KeysValues | Folded, keys_mask: Tensor) -> Tensor:
        """All positions, x [B C, L, d], masks for [B C, 1, L, L] and [B, 1, 1, S] -> [B C, L, d]."""
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

    def rest(self, x: Tensor, keys: KeysValues | Folded, keys_mask: Tensor) -> Tensor:
        """What follows self-attention."""
        x = self.block(x, self.cross_norm, lambda x: self.cross(x, keys, keys_mask))
        return self.block(x, self.ffn_norm, self.ffn)


class EncoderDecoder(nn.Module):
    """What encoder-decoders share: positions, layers, last norms, and how linear layers start."""

    def __init__(self, vocab: int, max_positions: int) -> None:
        super().__init__()
        self.vocab, self.max_positions = vocab, max_positions

    def build(self, config: NetworkConfig, max_positions: int) -> None:
        """Make the shared parts. Called in __init__, at their place in the order of random draws and of parameters."""
        d, decoder = config.model_dim, config.decoder()
        self.encoder_positions = Positions(max_positions, d, config.learned_positions)
        self.decoder_positions = Positions(max_positions, d, decoder.learned_positions)
        self.encoder_layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(decoder) for _ in range(config.decoder_layers))
        self.encoder_norm = nn.LayerNorm(d) if config.pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d) if decoder.pre_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)

    def start(self, initialization: str) -> None:
        """Initial weights of all linear layers: N(0, 0.02) (bert) or Xavier-uniform (xavier); biases zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if initialization == "bert":
                    nn.init.normal_(module.weight, std=0.02)
                else:
                    nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def run_encoder(self, x: Tensor, mask: Tensor) -> Tensor:
        """The encoder's output [B, S, d] for embedded tokens of that shape; mask [B, 1, 1, S]."""
        return self.through_encoder(x + self.encoder_positions(x.shape[1]), mask)

    def through_encoder(self, x: Tensor, mask: Tensor) -> Tensor:
        """The encoder's output [B, S, d] for its input with positions."""
        x = self.dropout(x)
        for layer in self.encoder_layers:
            x = layer(x, mask)
        return self.encoder_norm(x)

    def keys_values(self, encoded: Tensor) -> tuple[KeysValues, ...]:
        """Keys and values of encoded [B, S, d] for each decoder layer's cross-attention."""
        return tuple(layer.cross.memory(encoded) for layer in self.layers_of_decoder())

    def run_decoder(self, x: Tensor, mask: Tensor, keys: Memories, keys_mask: Tensor) -> Tensor:
        """The decoder's output for its input with positions, x [B C, L, d]; masks as its layers take them."""
        x = self.dropout(x)
        for layer, memory in zip(self.decoder_layers, keys, strict=True):
            x = layer(x, mask, memory, keys_mask)
        return self.decoder_norm(x)

    def fold(self, keys: Memories, keys_mask: Tensor) -> Memories:
        """Keys and values of each decoder layer as decoding looks at them many times: folded where that is cheaper."""
        return tuple(
            layer.cross.fold(memory, keys_mask) if not isinstance(memory, Folded) and folds(memory) else memory
            for layer, memory in zip(self.layers_of_decoder(), keys, strict=True)
        )

    def layers_of_decoder(self) -> Iterator[DecoderLayer]:
        """The decoder's layers, as what they are."""
        return (cast(DecoderLayer, layer) for layer in self.decoder_layers)


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
