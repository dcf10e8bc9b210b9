"""The options of Diffusion-LM, and its released recipe."""

from dataclasses import dataclass
from typing import Any

from core.diffusion.end_to_end_sections import RELEASED, EndToEndOptions
from core.sections import PAIR_TOKENS


@dataclass(frozen=True)
class Options(EndToEndOptions):
    """Diffusion over embeddings learned end to end, conditioned on a source by an encoder (Li et al. 2022)."""


AS_RELEASED: dict[str, Any] = RELEASED | {
    "model_dim": 768,
    "heads": 12,
    "ffn_dim": 3072,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "dropout": 0.1,
    "latent_dim": 16,
    "time_dim": 128,
    "target_length": 64,
    "decoding_steps": 200,
    "batch_tokens": 64 * PAIR_TOKENS,
    "updates": 200_000,
    "warmup": 0,
}
"""The released recipe for E2E (ROCStories: latent_dim 128, 400,000 updates). It takes 64 sentences a batch, and the
last weights, where ours are the best on validation."""
