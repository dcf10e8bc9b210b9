"""The network that writes all target tokens at once, given some of them (Ghazvininejad et al. 2019; Zheng et al. 2023).

An encoder-decoder without a causal mask, of the same layers as the other networks, with a length head. One embedding
table as wide as the model serves source, target and output.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.diffusion.denoiser import LENGTH_CENTRE, LENGTH_CLASSES, Memory
from core.discrete.options import TokensConfig
from core.networks.embedding import EmbeddingSpace
from core.networks.kernels import Linear
from core.networks.transformer import EncoderDecoder, sinusoids
from core.sections import LatentConfig, NetworkConfig
from core.text.tokenizer import PAD, UNK


class MaskedSpace(EmbeddingSpace):
    """An embedding table with a row for the mask, if that is a type of its own; it is no type of the output then."""

    def __init__(self, config: LatentConfig, vocab: int, own_mask: bool) -> None:
        super().__init__(config, vocab + own_mask)
        self.types = vocab

    def output(self) -> Tensor:
        """The table of the output layer, [V, d]."""
        return self.table[: self.types]


class TokenNetwork(EncoderDecoder):
    """log p of every target token at once, given noised tokens, the source and t in 0..times (0: is not told it).

    joined: positions are concatenated with the embeddings and projected (RDM); else added. length_token: the length is
    read off a token of its own before the source (Mask-Predict); else off the mean of the encoder's output.
    """

    times: Tensor

    def __init__(
        self,
        config: NetworkConfig,
        tokens: TokensConfig,
        vocab: int,
        max_positions: int,
        times: int = 0,
        joined: bool = False,
        length_token: bool = False,
    ) -> None:
        super().__init__(vocab, max_positions)
        d = config.model_dim
        self.length_offset, self.length_token = tokens.length_offset, length_token
        self.mask_type = vocab if tokens.own_mask else UNK
        latent = LatentConfig(latent_dim=d, embedding_norm="none", embedding_std=tokens.embedding_std)
        self.embedding = MaskedSpace(latent, vocab, tokens.own_mask)
        self.build(config, max_positions)
        self.encoder_join = Linear(2 * d, d) if joined else None
        self.decoder_join = Linear(2 * d, d) if joined else None
        self.time = Linear(d, d) if times else None
        self.register_buffer("times", sinusoids(torch.arange(times + 1.0), d), persistent=False)
        self.length_table = nn.Parameter(torch.empty(LENGTH_CLASSES, d))
        nn.init.normal_(self.length_table, std=0.02)
        self.start(config.initialization)

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """Source tokens [B, S] and mask [B, S] (true at real tokens) -> what decoding needs of them."""
        x = placed(self.embedding.source(source), self.encoder_positions(source.shape[1]), self.encoder_join)
        if self.length_token:
            x = torch.cat([self.length_table[0].expand(len(x), 1, -1), x], 1)
            mask = functional.pad(mask, (1, 0), value=True)
        keys_mask = mask[:, None, None, :]
        x = self.through_encoder(x, keys_mask)
        pooled = x[:, 0] if self.length_token else (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return Memory(
            layers=self.keys_values(x),
            mask=keys_mask,
            lengths=mask.sum(1),
            length_logits=self.length_logits(pooled),
            encoded=x,
        )

    def length_logits(self, pooled: Tensor) -> Tensor:
        """[B, 256] for pooled [B, d]. Row 0 of the table is the length token's embedding, if there is one: no class."""
        logits = functional.linear(pooled, self.length_table)
        if not self.length_token:
            return logits
        return torch.cat([torch.full_like(logits[:, :1], -torch.inf), logits[:, 1:]], 1)

    def decoder_input(self, tokens: Tensor, t: Tensor | None = None) -> Tensor:
        """Embedded tokens [B, L] with positions, which count the tokens that are not PAD, and t [B] or [1]."""
        places = ((tokens != PAD).cumsum(1) - 1).clamp_min(0)
        positions = self.decoder_positions(self.max_positions)[places]
        x = placed(self.embedding(tokens), positions, self.decoder_join)
        if self.time is not None and t is not None:
            x = x + self.time(self.times[t])[:, None]
        return x

    def states(self, tokens: Tensor, memory: Memory, t: Tensor | None = None) -> Tensor:
        """The last layer's output [B C, L, d] for noised tokens [B C, L], which hold BOS, at t [B C] or [1].

        C rows per sentence of the memory, adjacent. PAD is not looked at, wherever it stands.
        """
        mask = (tokens != PAD)[:, None, None, :]
        return self.run_decoder(self.decoder_input(tokens, t), mask, memory.layers, memory.mask)

    def length_losses(self, memory: Memory, lengths: Tensor) -> Tensor:
        """Cross-entropy of the target lengths [B], each."""
        target = self.length_target(memory, lengths)
        return functional.cross_entropy(memory.length_logits.float(), target, reduction="none")

    def length_target(self, memory: Memory, lengths: Tensor) -> Tensor:
        """Class of target lengths [B]: the length, or its offset from the source length + 128; within 0..255."""
        return (lengths + self.class_offset(memory)).clamp(0, LENGTH_CLASSES - 1)

    def class_offset(self, memory: Memory) -> Tensor | int:
        """What is added to a length to give its class."""
        return LENGTH_CENTRE - memory.lengths if self.length_offset else 0


def placed(embedded: Tensor, positions: Tensor, join: nn.Module | None) -> Tensor:
    """Embeddings [B, L, d] with positions [L, d] or [B, L, d]: added, or joined by a projection."""
    if join is None:
        return embedded + positions
    projected: Tensor = join(torch.cat([embedded, positions.expand_as(embedded)], -1))
    return projected
