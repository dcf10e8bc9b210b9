"""Options that the methods over tokens share."""

from dataclasses import dataclass
from typing import Literal

from core.checks import MOST_CANDIDATES
from core.errors import UserError


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
    """The hypotheses of a sentence, which differ in their length, and the choice among them."""

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


def check_lengths(lengths: Lengths) -> None:
    """Raises UserError on lengths that no decoding can have."""
    if lengths.least_length < 2:
        raise UserError(f"option least_length: {lengths.least_length} must be at least 2 (BOS and EOS)")
    if lengths.length_candidates > MOST_CANDIDATES:
        said = f"option length_candidates: {lengths.length_candidates:,} lengths for a sentence"
        raise UserError(f"{said}; at most {MOST_CANDIDATES:,}")


def check_steps(steps: int, most: int | None = None) -> None:
    """Raises UserError unless a decoding has at least one step, and at most so many."""
    if steps < 1:
        raise UserError(f"option passes: {steps} must be at least 1")
    if most is not None and steps > most:
        raise UserError(f"option passes: {steps} must be at most noise_steps = {most}")
