"""Options that the methods over tokens share."""

from dataclasses import dataclass
from typing import Any, Literal

from core.checks import MOST_CANDIDATES
from core.errors import UserError

MOST_STEPS = 100_000


@dataclass(frozen=True)
class TokensConfig:
    """What a network that writes all tokens at once adds to the Transformer."""

    own_mask: bool = False
    """A type of its own stands for a masked token; off = UNK does (fairseq's CMLM and RDM; Mask-Predict and MDLM have
    one of their own)."""
    length_offset: bool = True
    """Predict the target length as an offset from the source length (ours, as all methods here; CMLM and RDM as
    released: the length itself)."""
    embedding_std: float | None = 0.02
    """Start of the embedding table: 0.02 as in BERT (released); none = 1 / sqrt(d)."""


@dataclass(frozen=True)
class Lengths:
    """The hypotheses of a sentence, which differ in their length, the choice among them, and how often the network is
    asked."""

    length_candidates: int = 1
    """Lengths tried for each sentence, around the predicted one (CMLM and RDM as released: 5)."""
    least_length: int = 3
    """Shortest length tried, BOS and EOS included (RDM as released: 3; CMLM: 2, and the empty sentence, whose score is
    the best there can be, is written wherever it is tried)."""
    count_ends: bool = False
    """Count BOS and EOS, which are as good as certain, in the mean log-probability that hypotheses are compared by
    (released: yes, which favours short ones)."""
    predict_special: bool = False
    """Special types may be written inside a sentence (released: all in CMLM, all but the mask in RDM's absorbing
    form). PAD and EOS there are left out of the text, or end it; masks are left in it as UNK."""
    chosen_by: Literal["model", "mbr"] = "model"
    """Choice among the hypotheses: the model's mean log-probability (released), or mean sentence BLEU against the
    others."""
    passes: int = 10
    """S: network calls; MDLM: at most (Mask-Predict and RDM as released: 10; CMLM: 11, as the --iter-decode-max-iter 10
    of fairseq's script means one more; MDLM: 128)."""


@dataclass(frozen=True)
class TokenObjective:
    """What is learned of noised tokens."""

    loss_form: Literal["reparameterised", "vanilla"] = "reparameterised"
    """The weighted cross-entropy of noised tokens, or the variational bound: the same with the weight 1 / (t + 1) for
    absorbing noise, the divergence of one step's posteriors for multinomial noise."""
    reweighting: Literal["linear", "reciprocal", "none"] = "none"
    """Weight of a time in the reparameterised objective: 1 - t / T (released), 1 / (t + 1), or 1 (ours: it learns
    within few updates, where the others need several times as many; results/log.md)."""
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


def check_writing(lengths: Lengths, most: int | None = None) -> None:
    """Raises UserError on lengths, or a number of network calls (at most `most`), that no decoding can have."""
    if lengths.least_length < 2:
        raise UserError(f"option least_length: {lengths.least_length} must be at least 2 (BOS and EOS)")
    if lengths.length_candidates > MOST_CANDIDATES:
        said = f"option length_candidates: {lengths.length_candidates:,} lengths for a sentence"
        raise UserError(f"{said}; at most {MOST_CANDIDATES:,}")
    steps = lengths.passes
    if not 1 <= steps <= MOST_STEPS:
        raise UserError(f"option passes: {steps:,} must lie between 1 and {MOST_STEPS:,}")
    if most is not None and steps > most:
        raise UserError(f"option passes: {steps} must be at most noise_steps = {most}")


RELEASED: dict[str, Any] = {
    "model_dim": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "dropout": 0.3,
    "initialization": "bert",
    "embedding_std": 0.02,
    "own_mask": False,
    "length_offset": False,
    "label_smoothing": 0.1,
    "length_loss_factor": 0.1,
    "length_candidates": 5,
    "count_ends": True,
    "predict_special": True,
    "chosen_by": "model",
    "warmup_init_lr": 1e-7,
    "beta1": 0.9,
    "beta2": 0.98,
    "weight_decay": 0.01,
    "clip_norm": 1e9,
    "keep_best": 5,
    "averaging": "mean",
    "vocab_size": 10000,
    "valid_every": 5000,
    "valid_sentences": 1000,
}
"""What the recipes of CMLM and RDM share."""
