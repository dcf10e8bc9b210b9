"""The network of an embedding diffusion (Gao et al. 2024): encoder, denoiser with self-conditioning, length head."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.diffusion.process import ForwardProcess
from core.networks.embedding import EmbeddingSpace, placed_norm
from core.networks.kernels import Linear, product
from core.networks.replays import enlarged
from core.networks.transformer import EncoderDecoder, Folded, KeysValues, Memories, feed_forward, filled_keys
from core.sections import LatentConfig, NetworkConfig

LENGTH_CLASSES = 256
LENGTH_CENTRE = 128


@dataclass(frozen=True)
class Memory:
    """What the denoiser needs of a source sentence, computed once however many steps and candidates follow.

    layers: keys and values of each decoder layer. mask: [B, 1, 1, S], true at real positions.
    lengths: source lengths [B]. length_logits: [B, 256]. encoded: the encoder's output [B, S, d].
    """

    layers: Memories
    mask: Tensor
    lengths: Tensor
    length_logits: Tensor
    encoded: Tensor

    def unfolded(self) -> tuple[KeysValues, ...]:
        """Keys and values of each layer, as the encoder left them."""
        return tuple(layer for layer in self.layers if not isinstance(layer, Folded))

    def rows(self, rows: Tensor) -> Self:
        """The memory of some sentences alone, no longer than they are."""
        longest = int(self.lengths[rows].max())
        layers = tuple((k[rows, :, :longest], v[rows, :, :longest]) for k, v in self.unfolded())
        mask, encoded = self.mask[rows, :, :, :longest], self.encoded[rows, :longest]
        return type(self)(layers, mask, self.lengths[rows], self.length_logits[rows], encoded)

    def filled(self, rows: int, length: int) -> Self:
        """That of so many sentences of so many positions: those beyond the ones here are the last of these again."""
        layers, mask = filled_keys(self.unfolded(), rows, length), enlarged(self.mask, rows, 1, 1, length)
        lengths, logits = enlarged(self.lengths, rows), enlarged(self.length_logits, rows)
        return type(self)(layers, mask, lengths, logits, enlarged(self.encoded, rows, length))

    def detach(self) -> Self:
        """The same, cut off from the graph."""
        layers = tuple((k.detach(), v.detach()) for k, v in self.unfolded())
        return type(self)(layers, self.mask, self.lengths, self.length_logits.detach(), self.encoded.detach())


class Denoiser(EncoderDecoder):
    """Predicts z_0 from z_t, t, the source and (self-conditioning) its own last prediction. Holds its noise process."""

    def __init__(
        self, network: NetworkConfig, latent: LatentConfig, process: ForwardProcess, vocab: int, max_positions: int
    ) -> None:
        super().__init__(vocab, max_positions)
        self.latent, self.model_dim, self.process = latent, network.model_dim, process
        d, d_e = network.model_dim, latent.latent_dim
        self.embedding = EmbeddingSpace(latent, vocab)
        self.encoder_in = _projection(d_e, d)
        self.decoder_in = self.encoder_in if latent.share_projection else _projection(d_e, d)
        self.decoder_out = _projection(d, d_e)
        self.build(network, max_positions)
        self.embedding_norm = placed_norm(latent, "decoder_input", d)
        width = d_e if latent.self_conditioning_before_projection else d
        self.self_condition = (
            feed_forward(2 * width, width, width, network.activation) if latent.self_conditioning else None
        )
        self.time = feed_forward(d, 4 * d, d, network.activation)
        self.length_table = nn.Parameter(torch.empty(LENGTH_CLASSES, d))
        self.time_scale = 1000.0 / process.steps if latent.rescale_timesteps else 1.0
        nn.init.normal_(self.length_table, std=0.02)
        self.start(network.initialization)

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """Source tokens [B, S] and mask [B, S] (true at real tokens) -> what decoding needs of them."""
        keys_mask = mask[:, None, None, :]
        x = self.run_encoder(self.encoder_in(self.embedding.source(source)), keys_mask)
        pooled = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return Memory(
            layers=self.keys_values(x),
            mask=keys_mask,
            lengths=mask.sum(1),
            length_logits=functional.linear(pooled, self.length_table),
            encoded=x,
        )

    def denoise(
        self, z_t: Tensor, time: Tensor, mask: Tensor, memory: Memory, z_0_prev: Tensor | None = None
    ) -> Tensor:
        """z_0_hat [B C, L, d_e] from z_t of the same shape, time [B C] or [1] (time_scale * t), mask [B C, L].

        C candidates per sentence of the memory, adjacent. z_0_prev: the last prediction; None stands for zeros.
        """
        h = self.join_inputs(z_t, z_0_prev)
        h = h + self.time(timestep_embedding(time, self.model_dim))[:, None]
        h = self.embedding_norm(h + self.decoder_positions(z_t.shape[1]))
        return self.decoder_out(self.run_decoder(h, mask[:, None, None, :], memory.layers, memory.mask))

    def join_inputs(self, z_t: Tensor, z_0_prev: Tensor | None) -> Tensor:
        """The decoder's input before time and position, [B, L, d]: z_t alone, or joined with the last prediction."""
        if self.self_condition is None:
            return self.decoder_in(z_t)
        if self.latent.self_conditioning_before_projection:
            return self.decoder_in(self.dropout(_join(self.self_condition, z_t, z_0_prev)))
        if z_0_prev is not None and isinstance(self.decoder_in, nn.Linear) and not torch.is_grad_enabled():
            return self.dropout(_join_projected(self.self_condition, self.decoder_in, z_t, z_0_prev))
        previous = None if z_0_prev is None else self.decoder_in(z_0_prev)
        return self.dropout(_join(self.self_condition, self.decoder_in(z_t), previous))

    def length_target(self, source_lengths: Tensor, target_lengths: Tensor) -> Tensor:
        """Class of the target length, [B]: offset from the source length + 128, clamped to 0..255."""
        offset = LENGTH_CENTRE - source_lengths if self.latent.length_offset else 0
        return (target_lengths + offset).clamp(0, LENGTH_CLASSES - 1)

    def predicted_lengths(self, memory: Memory) -> Tensor:
        """Most likely target length of each sentence, [B], BOS and EOS included."""
        lengths = memory.length_logits.argmax(-1)
        return lengths + memory.lengths - LENGTH_CENTRE if self.latent.length_offset else lengths


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """[cos, sin] of t [B] at dim / 2 wavelengths, period 10000 (Ho et al. 2020), [B, dim]."""
    half = dim // 2
    rates = torch.exp(-math.log(10000.0) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t[:, None].float() * rates
    return functional.pad(torch.cat([angles.cos(), angles.sin()], -1), (0, dim % 2))


def _projection(dim: int, out: int) -> nn.Module:
    return nn.Identity() if dim == out else Linear(dim, out, bias=False)


def _join_projected(mlp: nn.Sequential, projection: nn.Linear, a: Tensor, b: Tensor) -> Tensor:
    """mlp([W a; W b]) with the projection W multiplied into the first matrix: one product of d_e instead of d columns.

    For decoding alone, where it is a tenth less to compute; gradients of W are cheaper the other way.
    """
    first, W = mlp[0], projection.weight
    assert isinstance(first, nn.Linear)
    joined = torch.cat([part @ W for part in first.weight.split(len(W), 1)], 1)
    return mlp[2](mlp[1](product(torch.cat([a, b], -1), joined, first.bias)))


def _join(mlp: nn.Sequential, a: Tensor, b: Tensor | None) -> Tensor:
    """mlp([a; b]); with b = None (zeros) the half of the first matrix that would meet zeros is left out."""
    if b is not None:
        return mlp(torch.cat([a, b], -1))
    first = mlp[0]
    assert isinstance(first, nn.Linear)
    return mlp[2](mlp[1](functional.linear(a, first.weight[:, : a.shape[-1]], first.bias)))
