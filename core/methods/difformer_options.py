"""The options of Difformer."""

from dataclasses import dataclass
from typing import Any

from core.checks import check_decoding, check_preserving
from core.options import MethodOptions
from core.sections import DecodingConfig, DiffusionConfig, LatentConfig, NetworkConfig, ObjectiveConfig


@dataclass(frozen=True)
class Options(MethodOptions):
    """Difformer: embedding diffusion with anchor loss, embedding norm and noise factor (Gao et al. 2024)."""

    network: NetworkConfig = NetworkConfig()
    latent: LatentConfig = LatentConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    decoding: DecodingConfig = DecodingConfig()

    def check(self) -> None:
        """Raises UserError on values that do not go together."""
        self.network.check()
        check_preserving("noise_factor", self.diffusion.noise_factor, self.diffusion.variance_preserving)
        check_decoding(self.decoding, self.diffusion.diffusion_steps)


AS_RELEASED: dict[str, Any] = {
    "model_dim": 512,
    "latent_dim": 128,
    "ffn_dim": 1024,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "embedding_norm": "decoder_input",
    "dropout": 0.3,
    "batch_tokens": 8192,
    "vocab_size": 10000,
    "updates": 300000,
    "warmup": 10000,
    "valid_every": 5000,
    "valid_sentences": 1000,
    "averaging": "mean",
    "log_every": 100,
    "length_candidates": 7,
    "noise_candidates": 3,
}
"""IWSLT14 De-En, without the reranker."""
