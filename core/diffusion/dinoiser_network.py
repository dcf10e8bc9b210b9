"""The network of DINOISER (Ye et al. 2023): embeddings on a sphere, a denoiser told the noise's standard deviation."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.diffusion.denoiser import Memory
from core.diffusion.dinoiser_sections import SphereConfig
from core.networks.kernels import product
from core.networks.transformer import EncoderDecoder, feed_forward
from core.sections import NetworkConfig

TIME_SCALE = 16.0
"""Standard deviation of the frequencies at which t is told (fixed when released)."""


class Sphere(nn.Module):
    """z_0 = sqrt(d_e) E[y] / |E[y]|; logits = z z_0^T over the same vectors of all types."""

    def __init__(self, vocab: int, latent_dim: int, std: float) -> None:
        super().__init__()
        self.table = nn.Parameter(std * torch.randn(vocab, latent_dim))

    def output(self) -> Tensor:
        """z_0 of every type, [V, d_e]."""
        return functional.normalize(self.table, dim=-1) * math.sqrt(self.table.shape[1])

    def factors(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Two factors whose product is the logits: z [N, d_e] and z_0 of every type."""
        return z, self.output()

    def forward(self, tokens: Tensor) -> Tensor:
        """z_0 of tokens, [...] -> [..., d_e]."""
        return functional.embedding(tokens, self.output())

    def logits(self, z: Tensor) -> Tensor:
        """z z_0^T, [..., d_e] -> [..., V]."""
        return product(z, self.output())


class SphereDenoiser(EncoderDecoder):
    """Predicts z_0 from z_t, t, the source and (self-conditioning) its own last prediction.

    The source has a table of its own, unscaled, and its encoder one more layer norm at the end; a post-norm decoder has
    one at its start.
    """

    frequencies: Tensor

    def __init__(self, network: NetworkConfig, space: SphereConfig, vocab: int, max_positions: int) -> None:
        super().__init__(vocab, max_positions)
        d, d_e, features = network.model_dim, space.latent_dim, space.time_features
        self.latent_dim, self.self_conditioning = d_e, space.self_conditioning
        inputs = 2 if self.self_conditioning else 1
        self.embedding = Sphere(vocab, d_e, space.embedding_std or d_e**-0.5)
        self.source_table = nn.Parameter(torch.randn(vocab, d) * d**-0.5)
        self.build(network, max_positions)
        self.encoder_norm = nn.LayerNorm(d)
        self.input_norm = nn.Identity() if network.decoder().pre_norm else nn.LayerNorm(d)
        self.up = feed_forward(inputs * d_e, inputs * d, d, "tanh")
        self.down = feed_forward(d, inputs * d, d_e, "tanh")
        self.register_buffer("frequencies", TIME_SCALE * torch.randn(features))
        self.time = feed_forward(2 * features, space.time_width, d, "silu")
        self.length = feed_forward(d, d, max_positions, "tanh")
        self.start(network.initialization)

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """Source tokens [B, S] and mask [B, S] (true at real tokens) -> what decoding needs of them.

        No gradient of the lengths reaches the encoder.
        """
        keys_mask = mask[:, None, None, :]
        x = self.run_encoder(functional.embedding(source, self.source_table), keys_mask)
        pooled = (x.detach() * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return Memory(self.keys_values(x), keys_mask, mask.sum(1), self.length(pooled), x)

    def denoise(self, z_t: Tensor, t: Tensor, mask: Tensor, memory: Memory, z_0_prev: Tensor | None = None) -> Tensor:
        """z_0_hat [B C, L, d_e] from z_t of the same shape, t [B C] or [1], mask [B C, L].

        C candidates per sentence of the memory, adjacent. z_0_prev: the last prediction; None stands for zeros.
        """
        if self.self_conditioning:
            z_t = torch.cat([z_t, torch.zeros_like(z_t) if z_0_prev is None else z_0_prev.to(z_t.dtype)], -1)
        h = self.up(z_t) + self.time(self.time_features(t))[:, None] + self.decoder_positions(z_t.shape[1])
        h = self.run_decoder(self.input_norm(h), mask[:, None, None, :], memory.layers, memory.mask)
        return self.down(h)

    def time_features(self, t: Tensor) -> Tensor:
        """[sin, cos] of t [B] at random frequencies, [B, 2 features]; in float32, in which the order matters."""
        angles = t[:, None].float() * self.frequencies * 2 * math.pi
        return torch.cat([angles.sin(), angles.cos()], -1)

    def length_target(self, source_lengths: Tensor, target_lengths: Tensor) -> Tensor:
        """Class of the target length, [B]: how much longer it is than the source, M / 2 standing for equal."""
        M = self.max_positions
        return (target_lengths - source_lengths + M // 2).clamp(0, M - 1)

    def likely_lengths(self, memory: Memory, count: int) -> Tensor:
        """The `count` most likely target lengths of each sentence, best first, [B, count], BOS and EOS included."""
        M = self.max_positions
        rank = torch.arange(count, device=memory.lengths.device).clamp(max=M - 1)
        classes = memory.length_logits.topk(min(count, M), -1).indices[:, rank]
        return (memory.lengths[:, None] + classes - M // 2).clamp(2, M)
