"""The options of the masked diffusion language model."""

from dataclasses import dataclass
from typing import Any, Literal

from core.checks import NOT_NEGATIVE, check_rule
from core.discrete.options import Lengths, TokensConfig, check_writing
from core.errors import UserError
from core.options import MethodOptions, added
from core.sections import PAIR_TOKENS, NetworkConfig


@dataclass(frozen=True)
class MaskedDiffusion:
    """The noise process and the bound that is trained."""

    least_time: float = 1e-3
    """eps: times are drawn from [eps, 1], and a word is masked with probability (1 - eps) t (released: 1e-3)."""
    weighting: Literal["bound", "none"] = "bound"
    """Weight of a masked word: 1 / t, which gives the bound on -log p (released), or 1."""
    length_loss_factor: float = 0.1
    """Weight of the length loss (ours, as of all methods here; the released model writes a fixed number of tokens)."""


@dataclass(frozen=True)
class Unmasking(Lengths):
    """How text is written."""

    unmasking: Literal["confidence", "ancestral"] = "confidence"
    """Which masks become words: those that the network is surest of (as many in each pass and without noise, unlike
    MaskGIT's), or by chance, each alike, as in the noise process (released)."""
    temperature: float = 0.0
    """0 = the most likely word; else drawn from softmax(log p / temperature) (released: 1)."""
    noise_removal: bool = added(False)
    """By chance: words are drawn in all passes, from t = 1 to 1e-5, and the few masks that are left become the most
    likely words by one call more (released); off = from t = 1 to 0, the last pass writing the most likely words."""


@dataclass(frozen=True)
class Options(MethodOptions):
    """MDLM: masked diffusion with its continuous-time bound (Sahoo et al. 2024)."""

    network: NetworkConfig = NetworkConfig()
    tokens: TokensConfig = TokensConfig(own_mask=True)
    diffusion: MaskedDiffusion = MaskedDiffusion()
    decoding: Unmasking = Unmasking()

    def check(self) -> None:
        """Raises UserError on values that do not go together."""
        self.network.check()
        check_writing(self.decoding)
        if not 0 < self.diffusion.least_time < 1:
            raise UserError(f"option least_time: {self.diffusion.least_time} must lie between 0 and 1")
        check_rule("temperature", self.decoding.temperature, NOT_NEGATIVE)
        if self.decoding.noise_removal and self.decoding.unmasking != "ancestral":
            raise UserError("option noise_removal: goes with unmasking ancestral alone")


AS_RELEASED: dict[str, Any] = {
    "model_dim": 768,
    "heads": 12,
    "ffn_dim": 3072,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "updates": 1_000_000,
    "lr_schedule": "constant",
    "ema": 0.9999,
    "own_mask": True,
    "least_time": 1e-3,
    "weighting": "bound",
    "passes": 128,
    "unmasking": "ancestral",
    "temperature": 1.0,
    "noise_removal": True,
    "predict_special": True,
    "pre_norm": True,
    "dropout": 0.1,
    "lr": 3e-4,
    "warmup": 2500,
    "beta1": 0.9,
    "beta2": 0.999,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "batch_tokens": 512 * PAIR_TOKENS,
    "vocab_size": 10_000,
    "valid_every": 10_000,
    "valid_sentences": 1000,
}
"""MDLM's noise, bound and sampler. What this suite does not do: the released model has no source, no length (it writes
a fixed number of tokens) and no encoder, whose layers here are as many as the decoder's.

A batch is 512 sequences: there of 1,024 tokens of running text, here pairs."""
