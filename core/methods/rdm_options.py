"""The options of the reparameterised discrete diffusion model."""

from dataclasses import dataclass
from typing import Any, Literal

from core.discrete.options import Lengths, TokensConfig, check_lengths, check_steps
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
class TokenObjective:
    """What is learned of noised tokens."""

    loss_form: Literal["reparameterised", "vanilla"] = "reparameterised"
    """The weighted cross-entropy of noised tokens, or the variational bound: the same with the weight 1 / (t + 1) for
    absorbing noise, the divergence of one step's posteriors for multinomial noise."""
    reweighting: Literal["linear", "reciprocal", "none"] = "linear"
    """Weight of a time in the reparameterised objective: 1 - t / T (released), 1 / (t + 1), or 1."""
    label_smoothing: float = 0.1
    """Label smoothing of the token loss (released: 0.1; vanilla multinomial: 0, as there is none in its divergence)."""
    length_loss_factor: float = 0.1
    """Weight of the length loss (released: 0.1)."""
    times_T: bool = False
    """Multiply the token loss by T, the inverse probability of a time (released: yes; the length loss then weighs
    1 / T of what its factor says)."""
    smoothing_reweighted: bool = True
    """The smoothing has the weight of its time, as the loss has (released: no, so it dominates at late times)."""
    mean_over_padding: bool = False
    """Divide by the padded length of the batch (released: yes, so a sentence's loss depends on those beside it); off =
    the mean over all target tokens."""


@dataclass(frozen=True)
class Routing(Lengths):
    """How text is written."""

    passes: int = 10
    """S: network calls (released: 10)."""
    routing: Literal["cond", "uncond", "vanilla"] = "cond"
    """Which tokens are noise after a step. uncond: those that the network is least sure of; cond: of those written
    before, only such as it writes again with less certainty; vanilla: by chance, as in the noise process (released:
    cond on IWSLT14, uncond on WMT)."""
    routing_schedule: Literal["cosine", "linear"] = "cosine"
    """How the share of noise falls over the steps (released: cosine)."""
    routing_noise: float = 0.0
    """X: Gumbel noise on what tokens are compared by, times X and the share of noise (released: 0, deterministic, on
    IWSLT14 and WMT14; 1 on WMT16)."""
    temperature: float = 0.0
    """0 = write the most likely type (released on translation); else draw from softmax(log p / temperature)."""
    late_time: bool = False
    """Absorbing: tell the network a time that is one too high, T at first, which it never saw (released: yes)."""
    loose_cut: bool = False
    """Take those within 1e-10 of the next one for noise, too (released: yes: at the last step, where all words are
    certain, the least certain one is left as noise, and the hypothesis has the score -inf)."""
    distinct_start: bool = False
    """Multinomial: begin with types of which none comes twice (released: yes, so it fails where sentences have more
    tokens than there are types)."""


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
        check_lengths(self.decoding)
        check_steps(self.decoding.passes, self.process.noise_steps)
        if self.process.noise == "multinomial" and self.process.noise_special:
            raise UserError("option noise_special: True needs noise = absorbing: other words stand for words alone")
        if self.process.noise == "multinomial" and self.tokens.own_mask:
            raise UserError("option own_mask: True needs noise = absorbing: there are no masks")
        if self.process.noise == "multinomial" and self.decoding.late_time:
            raise UserError("option late_time: True needs noise = absorbing, whose released decoding has that slip")
        for name in ("routing_noise", "temperature"):
            if getattr(self.decoding, name) < 0:
                raise UserError(f"option {name}: {getattr(self.decoding, name)} must not be negative")


AS_RELEASED: dict[str, Any] = {
    "model_dim": 512,
    "ffn_dim": 1024,
    "heads": 4,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "dropout": 0.3,
    "initialization": "bert",
    "embedding_std": 0.02,
    "own_mask": False,
    "length_offset": False,
    "noise": "absorbing",
    "noise_steps": 50,
    "coupled": True,
    "noise_special": True,
    "joined_positions": True,
    "loss_form": "reparameterised",
    "reweighting": "linear",
    "label_smoothing": 0.1,
    "length_loss_factor": 0.1,
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
    "length_candidates": 5,
    "least_length": 3,
    "count_ends": True,
    "predict_special": True,
    "chosen_by": "model",
    "lr": 5e-4,
    "warmup": 30000,
    "warmup_init_lr": 1e-7,
    "beta1": 0.9,
    "beta2": 0.98,
    "weight_decay": 0.01,
    "clip_norm": 1e9,
    "batch_tokens": 4096,
    "updates": 300000,
    "keep_best": 5,
    "averaging": "mean",
}
"""RDM's absorbing form as its IWSLT14 scripts train and decode it. What this suite does not do: it decodes with an
exponential mean of the weights (decay 0.9999) over the last five checkpoints, here the mean of the five best; the
source has no BOS here."""

MULTINOMIAL: dict[str, Any] = AS_RELEASED | {
    "noise": "multinomial",
    "noise_special": False,
    "late_time": False,
    "distinct_start": True,
}
"""Its multinomial form."""
