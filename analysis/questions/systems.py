"""What the paper says of other systems: better than earlier diffusion models and iterative non-autoregressive ones.

Each card says what is published, which is never of one protocol, and that here all systems had the same budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.judging import HUNDRED, is_unlearned, unlearned_text
from analysis.load import ArmResults, StudyResults
from analysis.questions.base import Change, Claimed, Measurement, above, seeds_note
from analysis.questions.full_model import DEFAULT
from analysis.questions.scores import MARGIN, score_difference


def budget_note(study: StudyResults, arms: Sequence[ArmResults], _: np.ndarray) -> str:
    """The training and the tuning of both arms, beside the paper's."""
    one, two = (_budget(study, arm) for arm in arms)
    had = f"Here both had {one}" if one == two else f"Here {arms[0].label} had {one}, {arms[1].label} {two}"
    return f"{had}; the paper's Difformer had 300,000 updates on IWSLT14, with options chosen for it."


def _budget(study: StudyResults, arm: ArmResults) -> str:
    """Updates or training time, and trials of tuning, of an arm's first result."""
    record = next(record for record in study.records.values() if record["arm"] == arm.name)
    config: Mapping[str, Any] = record.get("config") or {}
    trials = (record.get("tuning") or {}).get("trials") or 0
    tuned = f"{trials} trials of tuning" if trials else "no tuning"
    if config.get("training_seconds"):
        return f"{config['training_seconds']:g} seconds of training and {tuned}"
    updates = f"{config['updates']:,} updates" if "updates" in config else "training of unknown length"
    return f"{updates} of {config.get('batch_tokens')} tokens and {tuned}"


def rival_unlearned(study: StudyResults, arms: Sequence[ArmResults]) -> str:
    """That nothing shows that the other system has learned, if so: to be above it then says nothing."""
    rows = study.scores[study.scores["arm"] == arms[-1].name]
    if not is_unlearned(rows, study.metric):
        return ""
    return f"No verdict: {unlearned_text(arms[-1].label, 'its score is', rows, study.metric)}"


def no_margin(study: StudyResults, _: Sequence[ArmResults]) -> str:
    """That a margin in points means nothing for this metric, if so."""
    return "" if study.metric in HUNDRED else f"A margin of {MARGIN:g} is one of scores from 0 to 100."


LEAD = Measurement(
    "",
    "{full} minus {arm}",
    score_difference,
    family="system",
    notes=(seeds_note, budget_note),
    void=rival_unlearned,
)
CLOSE = replace(LEAD, region=above(-MARGIN), doubt=no_margin)


def against(method: str, named: str, published: str, claimed: str = "") -> Claimed:
    """The claim that Difformer scores above a method; published: what tables say, claimed: another statement."""

    def said(*_: Any) -> str:
        return published

    change = Change("method", method, named, lambda own: own in (None, DEFAULT))
    effect = CLOSE if claimed else LEAD
    key = f"near_{method}" if claimed else f"above_{method}"
    notes = (*effect.notes, said)
    return Claimed(key, claimed or f"Difformer scores above {named}.", change, replace(effect, notes=notes))


SYSTEMS = (
    against(
        "diffuseq",
        "DiffuSeq",
        "Published: tokenised BLEU on distilled targets, IWSLT14 De-En 34.48 (21 candidates, reranked) against 28.78 "
        "(10 candidates), WMT14 En-De 27.74 against 15.37.",
    ),
    against(
        "seqdiffuseq",
        "SeqDiffuSeq",
        "Published: tokenised BLEU on distilled targets, IWSLT14 De-En 34.48 (21 candidates, reranked) against 30.03 "
        "(10 candidates), WMT14 En-De 27.74 against 17.14.",
    ),
    against(
        "diffusion_lm",
        "Diffusion-LM",
        "No number of the paper's own is at hand; those of others on raw targets of IWSLT14 De-En, from two papers: "
        "32.09 (NeoDiff) against 29.11 (DINOISER paper), 10 candidates each.",
    ),
    against(
        "dinoiser",
        "DINOISER",
        "No number of the paper's own is at hand, and tables of others disagree: IWSLT14 De-En 32.09 against 31.61 "
        "(NeoDiff, raw targets), 31.58 against 31.91 (Gu et al. 2024, distilled).",
    ),
    against(
        "cmlm",
        "CMLM, an iterative non-autoregressive model",
        "No number of the paper's own is at hand; those of others on raw targets of IWSLT14 De-En, from two papers: "
        "32.09 (NeoDiff, 10 candidates) against 29.41 (DINOISER paper).",
    ),
    against(
        "rdm",
        "RDM, a discrete diffusion model",
        "No published table has both by one metric: on QQP Difformer's 30.43 is corpus BLEU, RDM's 0.2510 a mean over "
        "sentences.",
    ),
    against(
        "autoregressive",
        "the autoregressive Transformer",
        "Published, IWSLT14 De-En on distilled targets: 34.48 (tokenised, 21 candidates, reranked by such a "
        "Transformer) and 31.58 (Gu et al. 2024, detokenised, one candidate) against 34.31 (Gu et al. 2024).",
        claimed=f"Difformer comes within {MARGIN:g} point of the autoregressive Transformer, or above it.",
    ),
)
