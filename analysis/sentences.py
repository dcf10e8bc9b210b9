"""Arms compared sentence by sentence within each seed: the paired bootstrap over the test set (Koehn, EMNLP 2004).

The study's score is computed anew from what each sentence of samples.jsonl adds to it (sentence_counts.py); where it is
not the one in scores.json, the run is left out and named. What comes out speaks of this test set and of this seed's two
trained models; it says nothing about other seeds: that is what the intervals over seeds are for.

p is two-sided; that of sacreBLEU's own paired bootstrap (`sacrebleu --paired-bs`) is of one tail, half of it or less.
Nominal 95% intervals of a BLEU difference covered the true one (that on 20,000 sentences of simulated text; 600 test
sets each) in 49, 83, 90, 92, 92% with 2, 5, 10, 20, 30 sentences, and in 94 to 96% from 50 on. With fewer than 50 there
is no verdict.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.judging import NO_VERDICT
from analysis.load import StudyResults
from analysis.results import metric_name
from analysis.sentence_counts import Measure, measure_of, references, tokenizer_in
from analysis.sentence_counts import bleu as bleu
from analysis.sentence_counts import statistics as statistics
from analysis.stats import from_resamples, holm, resampling, verdict
from analysis.tested import SIDES, interval_columns
from core.run_folder import SAMPLES, SCORES, try_read

SAME = 1e-6
"""How far a score computed anew may be from the one in scores.json."""
RESAMPLES = 2000
ENOUGH = 50
"""Sentences from which on the intervals hold their level; with fewer they are given, and decide nothing."""


def counts(study: StudyResults) -> tuple[dict[str, np.ndarray], list[str]]:
    """Counts of every result by run, over the same sentences in the same order, and why others were left out."""
    found: dict[str, np.ndarray] = {}
    left_out: dict[str, list[str]] = {}
    common: list[tuple[object, object]] | None = None
    signatures, own = _signatures(study), measure(study)
    for run, expected, signature in zip(study.scores["run"], study.scores[study.metric], signatures, strict=True):
        rows, complaint = try_read(study.path / run / SAMPLES)
        whole = all(isinstance(row.get(key), str) for row in rows or () for key in ("hypothesis", "reference"))
        if complaint or not rows or not whole:
            left_out.setdefault(f"{SAMPLES} is missing or incomplete", []).append(run)
            continue
        keys: list[tuple[object, object]] = [(row.get("id"), references(row)) for row in rows]
        common = common or keys
        if keys != common:
            left_out.setdefault(f"{SAMPLES} has other sentences than the first run's", []).append(run)
            continue
        if study.metric == "bleu" and _how(signature) != _how(signatures.iloc[0]):
            left_out.setdefault("BLEU has another tokenizer than the first run's; make rescore", []).append(run)
            continue
        try:
            table = own.table(rows)
        except RuntimeError:
            left_out.setdefault(f"{tokenizer_in(signature)} is not installed here", []).append(run)
            continue
        except KeyError:
            left_out.setdefault(f"{SAMPLES} has no {metric_name(study)} of each sentence", []).append(run)
            continue
        if not abs(float(own.total(table.sum(axis=0))) - expected) < SAME:
            left_out.setdefault(f"{metric_name(study)} of {SAMPLES} is not the one in {SCORES}", []).append(run)
            continue
        found[run] = table
    return found, [f"{reason} ({_named(runs)})" for reason, runs in left_out.items()]


def measure(study: StudyResults) -> Measure:
    """The study's score, as its first run was scored."""
    return measure_of(study.metric, _signatures(study).iloc[0])


def _signatures(study: StudyResults) -> "pd.Series[str]":
    """BLEU's signature of each result; '' where it is not known."""
    return study.scores.get("signature", pd.Series("", index=study.scores.index)).fillna("").astype(str)


def _how(signature: str) -> tuple[str, bool]:
    """What of a signature decides how the counts are made and added up."""
    return tokenizer_in(signature), "eff:yes" in signature


def _named(runs: list[str]) -> str:
    return runs[0] if len(runs) == 1 else f"{len(runs)} runs, such as {runs[0]}"


class Scored(NamedTuple):
    """The score of a run on the test set, and on each resample of it [resamples]."""

    score: np.ndarray
    resampled: np.ndarray


def compare(study: StudyResults) -> tuple[pd.DataFrame, list[str]]:
    """A row per arm but controls and seed: score of both, difference, interval, p, Holm's p, verdict; and notes.

    Of a study with groups each arm is compared with its own group's control. All comparisons of a seed share their
    resamples. Holm's correction is over the arms, within each seed.
    """
    if not study.compared or study.metric not in study.scores:
        return pd.DataFrame(), [f"there is no control arm with {metric_name(study)}"]
    tables, notes = counts(study)
    if not tables:
        return pd.DataFrame(), notes
    sentences = len(next(iter(tables.values())))
    if sentences < 2:
        return pd.DataFrame(), [*notes, "one sentence cannot be resampled"]
    weights = resampling(sentences, RESAMPLES)  # [resamples, sentences], shared: the comparisons are paired
    total = measure(study).total
    scores = {run: Scored(total(table.sum(axis=0)), total(weights @ table)) for run, table in tables.items()}
    frames = [_seed(study, int(seed), rows, scores, sentences) for seed, rows in study.scores.groupby("seed")]
    frames = [frame for frame in frames if len(frame)]
    return (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()), notes


def _seed(
    study: StudyResults, seed: int, rows: pd.DataFrame, scores: dict[str, Scored], sentences: int
) -> pd.DataFrame:
    """The comparisons of one seed with its own control runs."""
    runs = {arm: run for arm, run in zip(rows["arm"], rows["run"], strict=True) if run in scores}
    others = [arm for arm in study.arms if arm.name in runs and study.control_of(arm.name) in runs.keys() - {arm.name}]
    pairs = [(scores[runs[arm.name]], scores[runs[str(study.control_of(arm.name))]]) for arm in others]
    found = [from_resamples(float(s.score - base.score), s.resampled - base.resampled, sentences) for s, base in pairs]
    adjusted = holm([comparison.p for comparison in found])
    table = []
    for arm, (scored, base), comparison, p in zip(others, pairs, found, adjusted, strict=True):
        row = {"arm": arm.name, "label": arm.label, "seed": seed, "sentences": sentences}
        row |= {study.metric: float(scored.score), f"control_{study.metric}": float(base.score)}
        row |= interval_columns("difference", comparison.interval)
        said = SIDES[verdict(comparison.interval, p_adjusted=float(p)) if sentences >= ENOUGH else "undecided"]
        said = NO_VERDICT if arm.name in study.no_verdicts else said
        table.append(row | {"p": comparison.p, "p_holm": float(p), "verdict": said})
    return pd.DataFrame(table)


def sentence_note(frame: pd.DataFrame, notes: list[str], name: str = "BLEU") -> list[str]:
    """What `compare` found of a score of that name, in a sentence or two, and what it left out."""
    left_out = [f"Not compared sentence by sentence: {note}." for note in notes]
    if frame.empty:
        return left_out
    groups: dict[str, list[str]] = {}
    for label, rows in frame.groupby("label", sort=False):
        for word, side in (("lower", "below"), ("higher", "above")):
            times = int((rows["verdict"] == word).sum())
            if times:
                every = _every(len(rows)) if times == len(rows) else f"{times} of {len(rows)} seeds"
                groups.setdefault(f"{side} the control in {every}", []).append(str(label))
    said = (
        "; ".join(f"{head}: {', '.join(labels)}" for head, labels in groups.items())
        or "undecided in every arm and seed"
    )
    without = frame.loc[frame["verdict"] == NO_VERDICT, "label"].unique()
    said += f"; no verdict: {', '.join(without)}" if len(without) else ""
    sentences = int(frame["sentences"].iloc[0])
    if sentences < ENOUGH:
        said = f"undecided, for with fewer than {ENOUGH} sentences the intervals are too narrow to decide"
    width = float((frame["difference_high"] - frame["difference_low"]).median()) / 2
    return [
        f"Sentences: {name} by paired bootstrap over the {sentences} test sentences within each seed "
        f"({RESAMPLES:,} resamples, Holm over the arms of a seed; half width {width:.1f} in the median): {said}. "
        "This speaks of the trained models at hand, not of other seeds.",
        *left_out,
    ]


def _every(seeds: int) -> str:
    """All seeds in which an arm could be compared."""
    return "every seed" if seeds > 1 else "the one seed compared"
