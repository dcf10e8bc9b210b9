"""The options of Difformer."""

from dataclasses import dataclass

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
