"""Values that no run can have, refused before anything is trained, naming the option and its range."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

from core.errors import UserError
from core.options import values_of
from core.reading.file_kinds import LARGEST_SEED
from core.sections import DecodingConfig

LEAST_PRESERVING = 0.01
"""Least noise factor of a variance-preserving form: with less, the end of the sqrt schedule is no number."""

LEAST_TIME = 1e-4
"""Of a process whose times are continuous, and are the noise: in float32 it is divided by."""

N = TypeVar("N", int, float)
Rule = tuple[Callable[[Any], bool], str]

AT_LEAST_1: Rule = (lambda value: value >= 1, "must be at least 1")
NOT_NEGATIVE: Rule = (lambda value: value >= 0, "must not be negative")
POSITIVE: Rule = (lambda value: value > 0, "must be above 0")
BETWEEN_0_AND_1: Rule = (lambda value: 0 <= value <= 1, "must lie between 0 and 1")
SHARE: Rule = (lambda value: 0 <= value < 1, "must be at least 0 and below 1")

RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("vocab_size", "corpus_pairs", "corpus_heldout", "corpus_lexicon", "latent_dim", "ffn_dim", "heads"),
            *("encoder_layers", "decoder_layers", "decoder_ffn_dim", "decoder_heads", "updates", "batch_tokens"),
            *("log_every", "valid_every", "valid_sentences", "keep_best", "length_candidates", "noise_candidates"),
            "decoding_steps",
        ),
        AT_LEAST_1,
    ),
    **dict.fromkeys(
        (
            *("train_limit", "corpus_zipf", "warmup", "warmup_init_lr", "weight_decay", "checkpoint_seconds"),
            *("length_loss_factor", "decoding_noise_factor", "seed"),
        ),
        NOT_NEGATIVE,
    ),
    **dict.fromkeys(("noise_factor", "lr", "clip_norm", "embedding_std", "training_seconds"), POSITIVE),
    **dict.fromkeys(("dropout", "label_smoothing", "beta1", "beta2", "ema"), SHARE),
    "corpus_ambiguity": BETWEEN_0_AND_1,
    **dict.fromkeys(("fixed_t", "eta", "cedi_end"), BETWEEN_0_AND_1),
    "model_dim": (lambda value: value >= 4, "must be at least 4"),
    "max_length": (lambda value: value >= 3, "must be at least 3 (a word between BOS and EOS)"),
    "diffusion_steps": (lambda value: value >= 2, "must be at least 2"),
}

LARGEST: dict[str, int] = {
    **dict.fromkeys(("encoder_layers", "decoder_layers", "length_candidates", "noise_candidates", "beam"), 1000),
    **dict.fromkeys(("model_dim", "latent_dim", "ffn_dim", "decoder_ffn_dim", "corpus_lexicon"), 100_000),
    **dict.fromkeys(("vocab_size", "max_length", "diffusion_steps", "decoding_steps", "corpus_heldout"), 1_000_000),
    "least_length": 1_000_000,
    **dict.fromkeys(("corpus_pairs",), 10_000_000),
    **dict.fromkeys(("batch_tokens",), 100_000_000),
    **dict.fromkeys(("updates", "warmup", "log_every", "valid_every", "valid_sentences", "train_limit"), 10**9),
    "seed": LARGEST_SEED,
}
"""Sizes beyond which no machine trains, or a text is written for hours: what lies below may still not fit a machine
(core/sizes.py)."""
MOST_CANDIDATES = 4096
"""Lengths x noises: so many tokens make a decoding batch, and each candidate is compared with all others."""
MOST_THREADS = 1024
LEAST_TYPES = 260
"""Special tokens and the 256 bytes: the smallest vocabulary of a text in a folder."""


def check(config: Any) -> None:
    """Raises UserError on the first option of a RunConfig whose value no run can have."""
    values = values_of(config, all_of_them=True)
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"option {name}: {value} is not a finite number")
    for name, rule in RULES.items():
        if values.get(name) is not None:
            check_rule(name, values[name], rule)
    for name, most in LARGEST.items():
        if (values.get(name) or 0) > most:
            raise UserError(f"option {name}: {values[name]:,} is too large; at most {most:,}")
    if config.data.data is not None and config.data.vocab_size < LEAST_TYPES:
        raise UserError(f"option vocab_size: {config.data.vocab_size} is too small; at least {LEAST_TYPES}")
    if values["metric"] != "bleu":
        from core.scores import check_name  # on demand: brings in sacreBLEU

        check_name(values["metric"])
    config.method.check()


def check_rule(name: str, value: Any, rule: Rule) -> None:
    """Raises UserError unless the value of an option of that name fits a rule."""
    fits, said = rule
    if not fits(value):
        raise UserError(f"option {name}: {value} {said}")


def check_threads(threads: int) -> None:
    """Raises UserError on a number of CPU threads that no process can have."""
    if threads < 1:
        raise UserError(f"option threads: {threads} must be at least 1")
    if threads > MOST_THREADS:
        raise UserError(f"option threads: {threads:,} is too large; at most {MOST_THREADS:,}")


def check_decoding(decoding: DecodingConfig, T: int | None) -> None:
    """Raises UserError unless 1 <= K <= T, the steps are K of the T if they are named, 0 <= early_stop < K, a
    variance-preserving form has noise, and a sentence's candidates can be compared. T None: times are continuous."""
    K, early_stop = decoding.decoding_steps, decoding.early_stop
    if T is not None and not 1 <= K <= T:
        raise UserError(f"option decoding_steps: {K} must lie between 1 and diffusion_steps = {T}")
    named = named_steps(decoding, float if T is None else int)
    first, last = (LEAST_TIME, 1) if T is None else (0, T - 1)
    if named is not None and not (len(named) == K and first <= named[0] and named[-1] <= last):
        said = f"option visited_steps: {decoding.visited_steps!r} must name decoding_steps = {K} steps"
        raise UserError(f"{said}, rising, from {first} to {last}")
    if not 0 <= early_stop < K:
        raise UserError(f"option early_stop: {early_stop} must lie between 0 and decoding_steps - 1 = {K - 1}")
    check_candidates(decoding.length_candidates, decoding.noise_candidates)
    check_preserving("decoding_noise_factor", decoding.decoding_noise_factor, decoding.decoding_variance_preserving)


def check_candidates(lengths: int, noises: int) -> None:
    """Raises UserError on more candidates of a sentence than can be compared."""
    if lengths * noises > MOST_CANDIDATES:
        name = "length_candidates" if lengths > noises else "noise_candidates"
        said = f"option {name}: {lengths} lengths x {noises} noises make {lengths * noises:,} candidates a sentence"
        raise UserError(f"{said}; at most {MOST_CANDIDATES:,}")


def named_steps(decoding: DecodingConfig, kind: type[N]) -> tuple[N, ...] | None:
    """The steps that the option `visited_steps` names, whole numbers or shares; None if it names none.

    Raises UserError on what are no rising steps.
    """
    if decoding.visited_steps is None:
        return None
    try:
        named = tuple(kind(step) for step in decoding.visited_steps.split(","))
    except ValueError:
        named = ()
    if not named or not all(a < b for a, b in pairwise(named)):
        such = "0,500,1999" if kind is int else "0.05,0.5,1"
        raise UserError(f"option visited_steps: {decoding.visited_steps!r} is no list of rising steps, as {such!r}")
    return named


def check_preserving(name: str, F: float, variance_preserving: bool) -> None:
    """Raises UserError unless a noise factor of that name leaves noise in the variance-preserving form, if it is on."""
    if variance_preserving and F < LEAST_PRESERVING:
        raise UserError(
            f"option {name}: {F} leaves no noise in the variance-preserving form; it must be at least "
            f"{LEAST_PRESERVING}"
        )
