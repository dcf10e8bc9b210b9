"""The options of the reparameterised discrete diffusion model."""

from dataclasses import dataclass
from typing import Any, Literal

from core.checks import NOT_NEGATIVE, check_rule
from core.discrete.options import MOST_STEPS, RELEASED, Routing, TokenObjective, TokensConfig, check_writing
from core.errors import UserError
from core.options import MethodOptions
from core.sections import NetworkConfig


@dataclass(frozen=True)
class TokenNoise:
    """The noise process over tokens."""

    noise: Literal["absorbing", "multinomial"] = "absorbing"
    """Tokens become masks, or other words (released: both)."""
    noise_steps: int = 50
    """T (released: 50)."""
    coupled: bool = True
    """Noise each sentence at two times, the earlier one given the later one (released); off = at one."""
    noise_special: bool = False
    """Absorbing: BOS, EOS and PAD are masked like words (released: yes, and PAD is then learned)."""
    joined_positions: bool = True
    """Join embeddings and positions by a projection (released); off = add them."""


@dataclass(frozen=True)
class Options(MethodOptions):
    """RDM: reparameterised discrete diffusion (Zheng et al. 2023)."""

    network: NetworkConfig = NetworkConfig()
    tokens: TokensConfig = TokensConfig()
    process: TokenNoise = TokenNoise()
    objective: TokenObjective = TokenObjective()
    decoding: Routing = Routing()

    def check(self) -> None:
        """Raises UserError on values that do not go together."""
        self.network.check()
        if not 2 <= self.process.noise_steps <= MOST_STEPS:
            raise UserError(f"option noise_steps: {self.process.noise_steps:,} must lie between 2 and {MOST_STEPS:,}")
        check_writing(self.decoding, self.process.noise_steps)
        if self.process.noise == "multinomial" and self.process.noise_special:
            raise UserError("option noise_special: True needs noise = absorbing: other words stand for words alone")
        if self.process.noise == "multinomial" and self.tokens.own_mask:
            raise UserError("option own_mask: True needs noise = absorbing: there are no masks")
        if self.process.noise == "multinomial" and self.decoding.late_time:
            raise UserError("option late_time: True needs noise = absorbing, whose released decoding has that slip")
        for name in ("routing_noise", "temperature"):
            check_rule(name, getattr(self.decoding, name), NOT_NEGATIVE)


AS_RELEASED: dict[str, Any] = RELEASED | {
    "ffn_dim": 1024,
    "heads": 4,
    "noise": "absorbing",
    "noise_steps": 50,
    "coupled": True,
    "noise_special": True,
    "joined_positions": True,
    "loss_form": "reparameterised",
    "reweighting": "linear",
    "times_T": True,
    "smoothing_reweighted": False,
    "mean_over_padding": True,
    "passes": 10,
    "routing": "cond",
    "routing_schedule": "cosine",
    "routing_noise": 0.0,
    "temperature": 0.0,
    "late_time": True,
    "loose_cut": True,
    "least_length": 3,
    "lr": 5e-4,
    "warmup": 30000,
    "batch_tokens": 4096,
    "updates": 300000,
    "ema": 0.9999,
    "valid_every": 10000,
}
"""RDM's absorbing form as its IWSLT14 scripts train and decode it. What this suite does not do: its mean is of the last
five checkpoints, here of the five best on validation; the source has no BOS here."""

MULTINOMIAL: dict[str, Any] = AS_RELEASED | {
    "noise": "multinomial",
    "noise_special": False,
    "late_time": False,
    "distinct_start": True,
}
"""Its multinomial form."""

FORMS = {("noise", "multinomial"): MULTINOMIAL}
