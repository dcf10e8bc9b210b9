"""The network that writes from left to right: an encoder-decoder Transformer with a causal mask (Vaswani et al. 2017).

Built of the same layers as the denoiser, with one embedding table for source, target and output, and the model width as
embedding dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.networks.embedding import EmbeddingSpace
from core.networks.transformer import EncoderDecoder, KeysValues
from core.sections import LatentConfig, NetworkConfig

Past = tuple[KeysValues, ...]
"""Keys and values of each decoder layer at the positions written so far, each [N, heads, L, d / heads]."""


@dataclass(frozen=True)
class Source:
    """What decoding needs of B source sentences. layers: keys and values of each decoder layer; mask: [B, 1, 1, S]."""

    layers: tuple[KeysValues, ...]
    mask: Tensor

    def rows(self, kept: Tensor) -> "Source":
        """Some of the sentences alone, by their indices."""
        return Source(tuple((k[kept], v[kept]) for k, v in self.layers), self.mask[kept])


class CausalTransformer(EncoderDecoder):
    """log p(y | x) as a product over tokens, each given those before it. Embeddings start at N(0, 1 / d)."""

    def __init__(self, config: NetworkConfig, vocab: int, max_positions: int) -> None:
        super().__init__(vocab, max_positions)
        self.embedding = EmbeddingSpace(tied(config.model_dim), vocab)
        self.build(config, max_positions)
        self.start(config.initialization)

    def encode(self, source: Tensor, mask: Tensor) -> Source:
        """Source tokens [B, S] and mask [B, S] (true at real tokens) -> what decoding needs of them."""
        keys_mask = mask[:, None, None, :]
        return Source(self.keys_values(self.run_encoder(self.embedding.source(source), keys_mask)), keys_mask)

    def states(self, tokens: Tensor, source: Source) -> Tensor:
        """The last layer's output [B, L, d] for the first tokens [B, L] of each target, BOS first.

        Position i has seen the tokens up to i, and is to predict token i + 1. Padding stands on the right, so the
        causal mask keeps it from real positions.
        """
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        x = self.embedding(tokens) + self.decoder_positions(length)
        return self.run_decoder(x, causal[None, None], source.layers, source.mask)

    def step(self, tokens: Tensor, position: int, past: Past | None, source: Source) -> tuple[Tensor, Past]:
        """log p of each type [B C, V] to follow tokens [B C] at a position (0 = BOS), and the past with them.

        C hypotheses per sentence of the source, adjacent. Same numbers as from `states`, without the prefix again.
        """
        positions = self.decoder_positions(position + 1)[position]
        x = self.dropout(self.embedding(tokens[:, None]) + positions)
        now: list[KeysValues] = []
        for index, (layer, keys) in enumerate(zip(self.layers_of_decoder(), source.layers, strict=True)):
            x, kept = layer.step(x, None if past is None else past[index], keys, source.mask)
            now.append(kept)
        logits = self.embedding.logits(self.decoder_norm(x[:, 0])).float()
        return functional.log_softmax(logits, -1), tuple(now)


def tied(model_dim: int) -> LatentConfig:
    """The options of one embedding table as wide as the model, for source, target and output."""
    return LatentConfig(latent_dim=model_dim, embedding_norm="none", embedding_std=None)
