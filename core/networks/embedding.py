"""The embedding space: scale, norm placement, tied logits."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.kernels import product
from core.sections import LatentConfig
from core.text.tokenizer import PAD


class EmbeddingSpace(nn.Module):
    """One table E [V, d_e]; z_0 = LN(sqrt(d_e) E[y]) or sqrt(d_e) E[y]; logits = z E^T with the unscaled table.

    biased: logits = z E^T + b. still: a type whose row gets gradient from the output layer alone.
    """

    def __init__(self, config: LatentConfig, vocab: int, biased: bool = False) -> None:
        super().__init__()
        d_e = config.latent_dim
        self.table = nn.Parameter(torch.empty(vocab, d_e), requires_grad=not config.frozen_embedding)
        self.scale = math.sqrt(d_e) if config.scale_embedding else 1.0
        self.norm = placed_norm(config, "latent", d_e)
        self.source_table = None if config.share_embedding else nn.Parameter(torch.empty(vocab, d_e))
        self.output_table = None if config.share_embedding else nn.Parameter(torch.empty(vocab, d_e))
        self.bias = nn.Parameter(torch.zeros(vocab)) if biased else None
        self.still: int | None = None
        self.reset(config.embedding_std or d_e**-0.5)

    def reset(self, std: float) -> None:
        """N(0, std^2), zeros for padding."""
        for table in (self.table, self.source_table, self.output_table):
            if table is not None:
                nn.init.normal_(table, std=std)
                table.data[PAD] = 0.0

    def source(self, tokens: Tensor) -> Tensor:
        """Scaled embeddings for the encoder, [B, S] -> [B, S, d_e]; never normalised."""
        table = self.table if self.source_table is None else self.source_table
        return self.scale * functional.embedding(tokens, table, self.still)

    def forward(self, tokens: Tensor) -> Tensor:
        """z_0 of tokens, [...] -> [..., d_e]."""
        return self.norm(self.scale * functional.embedding(tokens, self.table, self.still))

    def all_z_0(self) -> Tensor:
        """z_0 of every type, [V, d_e]."""
        return self.norm(self.scale * self.table)

    def output(self) -> Tensor:
        """The table of the output layer, [V, d_e]."""
        return self.table if self.output_table is None else self.output_table

    def logits(self, z: Tensor) -> Tensor:
        """z E^T (+ b), [..., d_e] -> [..., V]."""
        return product(z, self.output(), self.bias)

    def factors(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Two factors whose product z T^T is the logits: z [N, d_e] and the table; a bias is one more column."""
        if self.bias is None:
            return z, self.output()
        return torch.cat([z, z.new_ones(len(z), 1)], 1), torch.cat([self.output(), self.bias[:, None]], 1)


def placed_norm(config: LatentConfig, place: str, dim: int) -> nn.Module:
    """The embedding layer norm if the configuration puts it at this place, else the identity."""
    if config.embedding_norm != place:
        return nn.Identity()
    return nn.LayerNorm(dim, elementwise_affine=config.embedding_norm_affine)
