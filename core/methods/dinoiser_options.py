"""The options of DINOISER."""

from dataclasses import dataclass
from typing import Any, Literal

from core.checks import LEAST_TIME, check_decoding
from core.diffusion.dinoiser_sections import SphereConfig
from core.errors import UserError
from core.options import MethodOptions, added
from core.sections import DecodingConfig, NetworkConfig, Schedule

MOST_TIME = 100_000


@dataclass(frozen=True)
class Clipping:
    """The noise in training."""

    clipping: Literal["clipped", "clipped_s", "none"] = "clipped"
    """Least noise drawn: that which hides a type among its nearest others (released: IWSLT14, WMT16), its variance and
    1 more (released: WMT14), or least_noise."""
    least_noise: float = 0.001
    """Least noise without clipping (released: 0.001, which its first update has)."""


@dataclass(frozen=True)
class Objective:
    """L = sum over passes of L_mse + L_token, + length_loss_factor * L_length."""

    length_loss_factor: float = 1.0
    """Weight of the length loss, which reaches the length head alone (ours; released: trained afterwards)."""


@dataclass(frozen=True)
class Decoding:
    """The sampler, the candidates and the choice among them."""

    sampler: Literal["cedi", "ddim", "ancestral", "dpm_solver"] = "cedi"
    """The sampler (released: cedi)."""
    decoding_steps: int = 20
    """K (released: 20)."""
    cedi_end: float = 0.99
    """CEDI: the network is told times from 1 down to this (released: 0.99)."""
    least_level: float = 0.001
    """The noise that the K steps run down to from 1 (released: 0.001)."""
    spacing: Literal["uniform", "log_snr", "quadratic"] = added("uniform")
    """Where the K steps lie: evenly in t (released), evenly in log-SNR, or by squares."""
    visited_steps: str | None = added(None)
    """The K steps themselves, from 0.0001 to 1 and rising, with commas between; none = as spacing says."""
    early_stop: int = added(0)
    """Leave out the last steps of the K, those with the least noise (released: 0)."""
    decoding_noise_factor: float = added(1.0)
    """F of the sampler (released: 1). Training has none: its clipping hides types instead."""
    decoding_schedule: Schedule | None = added(None)
    """t falls as the noise of this schedule does, to least_level at most; none = evenly (released). The network is told
    the noise itself, so a schedule says where steps lie and nothing else."""
    decoding_variance_preserving: bool = added(False)
    """The sampler's own variance-preserving form (released: no)."""
    eta: float = 0.0
    """DDIM: share of ancestral sampling's new noise (released: 0)."""
    clamping: bool = False
    """Replace z_0_hat by the embedding of its nearest token at each step (released: no)."""
    length_candidates: int = 1
    """Most likely lengths tried (released: 10)."""
    noise_candidates: int = 1
    """Noises tried per length (released: 5)."""
    selection: Literal["mbr", "model"] = "mbr"
    """Choice among candidates: by BLEU against the others, first within each length, then among those (released), or
    the model's mean log-probability."""


@dataclass(frozen=True)
class Options(MethodOptions):
    """DINOISER: embedding diffusion whose noise is never small, and which heeds its source (Ye et al. 2023)."""

    network: NetworkConfig = NetworkConfig()
    space: SphereConfig = SphereConfig()
    clipping: Clipping = Clipping()
    objective: Objective = Objective()
    decoding: Decoding = Decoding()

    def check(self) -> None:
        """Raises UserError on values that do not go together, or that no run can have."""
        self.network.check()
        decoding = self.decoding
        levels = {"least_noise": self.clipping.least_noise, "least_level": decoding.least_level}
        for name, value in (levels | {"cedi_end": decoding.cedi_end}).items():
            if not LEAST_TIME <= value < 1:
                raise UserError(f"option {name}: {value} must be at least {LEAST_TIME} and below 1")
        for name in ("time_features", "time_width"):
            if not 1 <= getattr(self.space, name) <= MOST_TIME:
                raise UserError(f"option {name}: {getattr(self.space, name)} must lie between 1 and {MOST_TIME:,}")
        check_decoding(DecodingConfig.of(decoding), None)


AS_RELEASED: dict[str, Any] = {
    **{"model_dim": 512, "encoder_layers": 6, "decoder_layers": 6, "ffn_dim": 1024, "heads": 4, "dropout": 0.2},
    **{"activation": "gelu", "latent_dim": 16, "embedding_std": 0.001, "clipping": "clipped"},
    **{"batch_tokens": 32768, "lr": 5e-4, "warmup": 4000, "beta2": 0.98, "weight_decay": 0.01, "updates": 300_000},
    **{"clip_norm": 1e9, "vocab_size": 10_000, "valid_every": 5000, "valid_sentences": 1000},
    **{"decoding_steps": 20, "length_candidates": 10, "noise_candidates": 5, "averaging": "best", "keep_best": 1},
}
"""IWSLT14 De-En. Not done here: training until validation by the true lengths has not improved ten times (here so
many updates, a number of ours), and the length head's training afterwards."""
