"""The options of diffusions whose embeddings are learned with them, end to end: Diffusion-LM and DiffuSeq.

Names are those of core/sections.py where the meaning is; the defaults are the released systems' own.
"""

from dataclasses import dataclass
from typing import Any, Literal

from core.checks import check_decoding, check_preserving
from core.errors import UserError
from core.options import MethodOptions, added
from core.sections import DecodingConfig, DiffusionConfig, LatentConfig, NetworkConfig, Schedule

LEAST_TOP = 0.1
"""A magnitude that one entry of noise in twelve stays below."""
MOST = 1_000_000


@dataclass(frozen=True)
class SpaceConfig:
    """The embedding space, whose table starts at N(0, 1), and how the denoiser enters it."""

    latent_dim: int = 64
    """Dimension d_e of the embedding space (released: 128); equal to model_dim = no projections."""
    embedding_norm: Literal["none", "latent"] = "none"
    """Difformer's embedding layer norm on the embedded text (released: none)."""
    embedding_norm_affine: bool = True
    """Learned gain and bias in the embedding layer norm (Difformer: yes)."""
    time_dim: int | None = None
    """Features of t; none = latent_dim, at most model_dim (released: 128, as latent_dim)."""
    rescale_timesteps: bool = True
    """Tell the network t * 1000 / T instead of the integer t (released: yes)."""
    target_length: int | None = None
    """Positions of the part that is written, BOS and EOS included; the rest of it is PAD, which is predicted. none = as
    many as the longest training target has (ours; released: 64, or what seq_len leaves)."""

    def latent(self) -> LatentConfig:
        """As the embedding space takes them."""
        return LatentConfig(
            latent_dim=self.latent_dim,
            embedding_norm=self.embedding_norm,
            embedding_norm_affine=self.embedding_norm_affine,
            scale_embedding=False,
            embedding_std=1.0,
        )


@dataclass(frozen=True)
class ProcessConfig:
    """The forward process in training."""

    diffusion_steps: int = 2000
    """T (released: 2000)."""
    schedule: Schedule = "sqrt"
    """Noise schedule alpha_bar(u) (released: sqrt)."""
    noise_factor: float = 1.0
    """Difformer's F: the noise is N(0, F^2 I) (released: 1)."""
    variance_preserving: bool = added(False)
    """Reach the same signal-to-noise ratio by the schedule, at unit total variance (released: no)."""
    time_sampler: Literal["uniform", "stratified", "lossaware"] = "uniform"
    """How t is drawn in training: each by itself (Diffusion-LM), one from each of B equal parts of 0..T-1, or by the
    loss seen at each t, with importance weights (DiffuSeq)."""

    def gaussian(self) -> DiffusionConfig:
        """As the process takes them."""
        return DiffusionConfig(self.diffusion_steps, self.schedule, self.noise_factor, self.variance_preserving)


@dataclass(frozen=True)
class EndToEndConfig:
    """L = mse + token + tT: the means over all positions of the written part, PAD included."""

    token_loss: Literal["rounding", "anchor", "none"] = "rounding"
    """-log p(y|x_0) of the noised true embedding (released), -log p(y|prediction) (Difformer's anchor), or none."""
    label_smoothing: float = 0.0
    """Label smoothing of the token loss (released: none)."""


@dataclass(frozen=True)
class WalkConfig:
    """The sampler, the candidates and the choice among them."""

    sampler: Literal["ancestral", "ddim", "dpm_solver", "cedi"] = "ancestral"
    """From x_t to x_s (core/diffusion/samplers.py): drawn from the posterior (released at all T steps), DDIM (released
    with fewer), DPM-Solver++(2M) (DiffuSeq-v2), or CEDI."""
    eta: float = 0.0
    """DDIM: share of ancestral sampling's new noise, from 0 (none) to 1 (ancestral sampling)."""
    cedi_end: float = 0.99
    """CEDI: the network is told times from T down towards this share of it."""
    spacing: Literal["uniform", "log_snr", "quadratic"] = "uniform"
    """Where the K steps lie: evenly in t (released), evenly in log-SNR, or by squares."""
    visited_steps: str | None = None
    """The K steps themselves, from 0 to T-1 and rising, with commas between; none = as spacing says."""
    variance: Literal["small", "large"] = "small"
    """Noise of the ancestral sampler: the posterior's (Diffusion-LM), or beta (DiffuSeq, whatever sigma_small says)."""
    decoding_steps: int = 20
    """K (released: 2000)."""
    early_stop: int = 0
    """Leave out the last steps of the K, those with the least noise (released: 0)."""
    decoding_noise_factor: float = 1.0
    """F of the sampler (released: 1)."""
    decoding_schedule: Schedule | None = None
    """Noise schedule of the sampler; none = as in training (released)."""
    decoding_variance_preserving: bool = added(False)
    """The sampler's own variance-preserving form (released: no)."""
    clamping: bool = True
    """Replace the prediction by the embedding of its nearest type (released: yes)."""
    clamp_step: int = 0
    """Clamp at steps k >= this of 0..K-1 alone (released: 0, at all)."""
    top_p: float | None = None
    """Draw noise above this magnitude again, within the steps (released scripts: off)."""
    released_ddim: bool = False
    """Replay a slip: ddim moves by one step of T, but is told steps T // K apart, and ends with noise left."""
    noise_candidates: int = 1
    """Candidates, each from noise of its own (released: 10 seeds)."""
    selection: Literal["mbr", "model"] = "mbr"
    """Choice among candidates: mean sentence BLEU against the others, or the model's mean log-probability."""


@dataclass(frozen=True)
class EndToEndOptions(MethodOptions):
    """What the methods share; one with more options of a section has a section of its own in its place."""

    network: NetworkConfig = NetworkConfig(activation="gelu")
    latent: SpaceConfig = SpaceConfig()
    diffusion: ProcessConfig = ProcessConfig()
    objective: EndToEndConfig = EndToEndConfig()
    decoding: WalkConfig = WalkConfig()

    def check(self) -> None:
        """Raises UserError on values that do not go together, or that no run can have."""
        walk = self.decoding
        self.network.check()
        check_preserving("noise_factor", self.diffusion.noise_factor, self.diffusion.variance_preserving)
        check_decoding(DecodingConfig.of(walk), self.diffusion.diffusion_steps)
        for name, value, least in (
            ("target_length", self.latent.target_length, 2),
            ("time_dim", self.latent.time_dim, 2),
            ("clamp_step", walk.clamp_step, 0),
        ):
            check_whole(name, value, least)
        if walk.top_p is not None and not walk.top_p >= LEAST_TOP:
            raise UserError(
                f"option top_p: {walk.top_p} must be at least {LEAST_TOP}, or noise is drawn again for ever"
            )
        own = walk.decoding_schedule is not None or walk.decoding_noise_factor != 1.0
        if walk.released_ddim and (walk.sampler != "ddim" or own):
            raise UserError("option released_ddim: is a slip of sampler=ddim, on the schedule of training with F = 1")


RELEASED: dict[str, Any] = {
    "latent_dim": 128,
    "lr": 1e-4,
    "lr_schedule": "linear",
    "weight_decay": 0.0,
    "beta2": 0.999,
    "clip_norm": 1e9,
    "ema": 0.9999,
    "averaging": "best",
    "keep_best": 1,
    "vocab_size": 10_000,
    "valid_every": 5000,
    "valid_sentences": 1000,
}
"""What the released recipes share. They have a vocabulary for each corpus, here the one that all systems share."""


def check_whole(name: str, value: int | None, least: int) -> None:
    """Raises UserError on a number below its least, or beyond what any machine has."""
    if value is not None and value < least:
        raise UserError(f"option {name}: {value} must be at least {least}")
    if value is not None and value > MOST:
        raise UserError(f"option {name}: {value:,} is too large; at most {MOST:,}")
