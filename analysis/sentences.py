"""Arms compared sentence by sentence within each seed: the paired bootstrap over the test set (Koehn, EMNLP 2004).

Corpus BLEU is computed anew from sacreBLEU's counts of each sentence of samples.jsonl; where it is not the BLEU of
scores.json, the run is left out and named. What comes out speaks of this test set and of this seed's two trained
models; it says nothing about other seeds: that is what the intervals over seeds are for.

p is two-sided; that of sacreBLEU's own paired bootstrap (`sacrebleu --paired-bs`) is of one tail, half of it or less.
Nominal 95% intervals of a BLEU difference covered the true one (that on 20,000 sentences of simulated text; 600 test
sets each) in 49, 83, 90, 92, 92% with 2, 5, 10, 20, 30 sentences, and in 94 to 96% from 50 on. With fewer than 50 there
is no verdict.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sacrebleu.metrics import BLEU

from analysis.load import StudyResults
from analysis.results import interval_columns
from analysis.stats import from_resamples, holm, resampling, verdict
from core.run_folder import SAMPLES, SCORES, try_read

ORDERS = 4
SAME = 1e-6
"""How far BLEU computed anew may be from the one in scores.json."""
RESAMPLES = 2000
ENOUGH = 50
"""Sentences from which on the intervals hold their level; with fewer they are given, and decide nothing."""


def statistics(
    hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]], tokenizer: str = "13a"
) -> np.ndarray:
    """sacreBLEU's counts of each sentence [sentences, 10]: both lengths, 4 numbers of matches, 4 of n-grams.

    references: one a sentence, or several. Raises RuntimeError where the tokenizer's packages are missing.
    """
    groups = [[group] if isinstance(group, str) else list(group) for group in references]
    streams = [[group[i] if i < len(group) else None for group in groups] for i in range(max(map(len, groups)))]
    counts = BLEU(force=True, tokenize=tokenizer)._extract_corpus_statistics(hypotheses, streams)  # type: ignore[arg-type]
    return np.array(counts, dtype=float).reshape(-1, 2 + 2 * ORDERS)


def tokenizer_in(signature: str) -> str:
    """The name of the tokenizer in a signature of BLEU, which may go on with its version; 13a if there is none."""
    said = next((part[4:] for part in signature.split("|") if part.startswith("tok:")), "13a")
    return max((name for name in BLEU.TOKENIZERS if said.startswith(name)), key=len, default="13a")


def bleu(sums: np.ndarray, effective_order: bool = False) -> np.ndarray:
    """Corpus BLEU [...], 0..100, of summed counts [..., 10], as sacreBLEU's default: exponential smoothing.

    The k-th order without a match counts as 1 / 2^k matches; without any match at all, or without n-grams of some
    order, BLEU is 0. effective_order: orders without n-grams are left out instead.
    """
    length, reference = sums[..., 0], sums[..., 1]
    matched, total = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    halving = 0.5 ** np.cumsum(matched == 0, axis=-1)
    share = np.where(matched > 0, matched, halving) / np.maximum(total, 1)
    penalty = np.exp(np.minimum(0.0, 1 - reference / np.maximum(length, 1e-9)))
    orders = np.maximum((total > 0).sum(axis=-1), 1) if effective_order else ORDERS
    score = (
        100 * penalty * np.exp(np.where((total > 0) | (not effective_order), np.log(share), 0).sum(axis=-1) / orders)
    )
    return np.where((matched.sum(axis=-1) > 0) & ((total > 0).all(axis=-1) | effective_order), score, 0.0)


def counts(study: StudyResults) -> tuple[dict[str, np.ndarray], list[str]]:
    """Counts of every result by run, over the same sentences in the same order, and why others were left out."""
    found: dict[str, np.ndarray] = {}
    left_out: dict[str, list[str]] = {}
    common: list[tuple[object, object]] | None = None
    signatures = study.scores.get("signature", pd.Series("", index=study.scores.index)).astype(str)
    for run, expected, signature in zip(study.scores["run"], study.scores["bleu"], signatures, strict=True):
        rows, complaint = try_read(study.path / run / SAMPLES)
        whole = all(isinstance(row.get(key), str) for row in rows or () for key in ("hypothesis", "reference"))
        if complaint or not rows or not whole:
            left_out.setdefault(f"{SAMPLES} is missing or incomplete", []).append(run)
            continue
        references = [_references(row) for row in rows]
        keys = [(row.get("id"), own) for row, own in zip(rows, references, strict=True)]
        common = common or keys
        if keys != common:
            left_out.setdefault(f"{SAMPLES} has other sentences than the first run's", []).append(run)
            continue
        if _scored_as(signature) != _scored_as(signatures.iloc[0]):
            left_out.setdefault("BLEU has another tokenizer than the first run's; make rescore", []).append(run)
            continue
        try:
            table = statistics([row["hypothesis"] for row in rows], references, tokenizer_in(signature))
        except RuntimeError:
            left_out.setdefault(f"{tokenizer_in(signature)} is not installed here", []).append(run)
            continue
        if not abs(float(bleu(table.sum(axis=0), "eff:yes" in signature)) - expected) < SAME:
            left_out.setdefault(f"BLEU of {SAMPLES} is not the one in {SCORES}", []).append(run)
            continue
        found[run] = table
    return found, [f"{reason} ({_named(runs)})" for reason, runs in left_out.items()]


def _references(row: Mapping[str, Any]) -> tuple[str, ...]:
    """All references of a sentence."""
    several = row.get("references")
    known = isinstance(several, list) and several and all(isinstance(one, str) for one in several)
    return tuple(several) if several and known else (str(row["reference"]),)


def _scored_as(signature: str) -> tuple[str, bool]:
    """What of a signature decides how the counts are made and added up."""
    return tokenizer_in(signature), "eff:yes" in signature


def _named(runs: list[str]) -> str:
    return runs[0] if len(runs) == 1 else f"{len(runs)} runs, such as {runs[0]}"


class Scored(NamedTuple):
    """BLEU of a run on the test set, and on each resample of it [resamples]."""

    bleu: np.ndarray
    resampled: np.ndarray


def compare(study: StudyResults) -> tuple[pd.DataFrame, list[str]]:
    """A row per arm but the control and seed: BLEU of both, difference, interval, p, Holm's p, verdict; and notes.

    All comparisons of a seed share their resamples. Holm's correction is over the arms, within each seed.
    """
    if study.control is None or "bleu" not in study.scores:
        return pd.DataFrame(), ["there is no control arm with BLEU"]
    tables, notes = counts(study)
    if not tables:
        return pd.DataFrame(), notes
    sentences = len(next(iter(tables.values())))
    if sentences < 2:
        return pd.DataFrame(), [*notes, "one sentence cannot be resampled"]
    weights = resampling(sentences, RESAMPLES)  # [resamples, sentences], shared: the comparisons are paired
    effective = "signature" in study.scores and "eff:yes" in str(study.scores["signature"].iloc[0])
    scores = {
        run: Scored(bleu(table.sum(axis=0), effective), bleu(weights @ table, effective))
        for run, table in tables.items()
    }
    frames = [_seed(study, int(seed), rows, scores, sentences) for seed, rows in study.scores.groupby("seed")]
    frames = [frame for frame in frames if len(frame)]
    return (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()), notes


def _seed(
    study: StudyResults, seed: int, rows: pd.DataFrame, scores: dict[str, Scored], sentences: int
) -> pd.DataFrame:
    """The comparisons of one seed with its own control run."""
    runs = {arm: run for arm, run in zip(rows["arm"], rows["run"], strict=True) if run in scores}
    control = runs.get(str(study.control))
    if control is None:
        return pd.DataFrame()
    base = scores[control]
    others = [arm for arm in study.arms if arm.name in runs and arm.name != study.control]
    own = [scores[runs[arm.name]] for arm in others]
    found = [from_resamples(float(s.bleu - base.bleu), s.resampled - base.resampled, sentences) for s in own]
    adjusted = holm([comparison.p for comparison in found])
    table = []
    for arm, scored, comparison, p in zip(others, own, found, adjusted, strict=True):
        row = {"arm": arm.name, "label": arm.label, "seed": seed, "sentences": sentences, "bleu": float(scored.bleu)}
        row |= {"control_bleu": float(base.bleu)} | interval_columns("difference", comparison.interval)
        said = verdict(comparison.interval, p_adjusted=float(p)) if sentences >= ENOUGH else "undecided"
        table.append(row | {"p": comparison.p, "p_holm": float(p), "verdict": said})
    return pd.DataFrame(table)


def sentence_note(frame: pd.DataFrame, notes: list[str]) -> list[str]:
    """What `compare` found, in a sentence or two, and what it left out."""
    left_out = [f"Not compared sentence by sentence: {note}." for note in notes]
    if frame.empty:
        return left_out
    groups: dict[str, list[str]] = {}
    for label, rows in frame.groupby("label", sort=False):
        for word, name in (("hurts", "below"), ("helps", "above")):
            times = int((rows["verdict"] == word).sum())
            if times:
                every = _every(len(rows)) if times == len(rows) else f"{times} of {len(rows)} seeds"
                groups.setdefault(f"{name} the control in {every}", []).append(str(label))
    said = (
        "; ".join(f"{head}: {', '.join(labels)}" for head, labels in groups.items())
        or "undecided in every arm and seed"
    )
    sentences = int(frame["sentences"].iloc[0])
    if sentences < ENOUGH:
        said = f"undecided, for with fewer than {ENOUGH} sentences the intervals are too narrow to decide"
    width = float((frame["difference_high"] - frame["difference_low"]).median()) / 2
    return [
        f"Sentences: BLEU by paired bootstrap over the {sentences} test sentences within each seed "
        f"({RESAMPLES:,} resamples, Holm over the arms of a seed; half width {width:.1f} in the median): {said}. "
        "This speaks of the trained models at hand, not of other seeds.",
        *left_out,
    ]


def _every(seeds: int) -> str:
    """All seeds in which an arm could be compared."""
    return "every seed" if seeds > 1 else "the one seed compared"
