"""The options of Diffusion-LM, and its released recipe."""

from dataclasses import dataclass
from typing import Any

from core.diffusion.end_to_end_sections import EndToEndConfig, ProcessConfig, SpaceConfig, WalkConfig, check_sections
from core.options import MethodOptions
from core.sections import NetworkConfig


@dataclass(frozen=True)
class Options(MethodOptions):
    """Diffusion over embeddings learned end to end, conditioned on a source by an encoder (Li et al. 2022)."""

    network: NetworkConfig = NetworkConfig(activation="gelu")
    latent: SpaceConfig = SpaceConfig()
    diffusion: ProcessConfig = ProcessConfig()
    objective: EndToEndConfig = EndToEndConfig()
    decoding: WalkConfig = WalkConfig()

    def check(self) -> None:
        """Raises UserError on values that do not go together, or that no run can have."""
        check_sections(self.network, self.latent, self.diffusion, self.decoding)


AS_RELEASED: dict[str, Any] = {
    "model_dim": 768,
    "heads": 12,
    "ffn_dim": 3072,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "dropout": 0.1,
    "latent_dim": 128,
    "target_length": 64,
    "decoding_steps": 200,
    "updates": 200_000,
    "lr": 1e-4,
    "lr_schedule": "linear",
    "warmup": 0,
    "weight_decay": 0.0,
    "beta2": 0.999,
    "clip_norm": 1e9,
    "ema": 0.9999,
    "averaging": "best",
    "keep_best": 1,
}
"""The released recipe (E2E: latent_dim 16; ROCStories: 128, 400,000 updates). It takes 64 sentences a batch, where ours
go by tokens (batch_tokens), and the last weights, where ours are the best on validation."""
