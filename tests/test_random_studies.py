"""Random studies, whole and torn: every number against scipy and statsmodels, no verdict beyond its interval and p."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

from analysis import results, tables
from analysis.claims import claims
from analysis.load import ArmResults, StudyResults
from analysis.questions import QUESTIONS
from analysis.stats import no_spread

MODULES: dict[str, tuple[str, dict[Any, Any]]] = {
    "anchor_loss": ("token_loss", {True: "anchor", False: "rounding"}),
    "embedding_norm": ("embedding_norm", {True: "latent", False: "none"}),
    "noise_factor": ("noise_factor", {4.0: 4.0, 1.0: 1.0}),
    "self_conditioning": ("self_conditioning", {True: True, False: False}),
}
LEVELS = {"noise_factor": [4.0, 1.0]}
ALL_CLAIMS: dict[str, Any] = {"claims": [question.key for question in QUESTIONS]}


def is_on(level: Any) -> bool:
    """Whether a level is the "on" one of its factor (True == 1.0, so not by comparing)."""
    return level is True or level == 4.0


def study_of(scores: dict[tuple[Any, ...], dict[int, float]], names: list[str]) -> StudyResults:
    """A study in memory: scores by arm (its levels) and seed; an arm without a score has no result."""
    factors = {name: LEVELS.get(name, [True, False]) for name in names}
    described: list[dict[str, Any]] = []
    records: dict[str, dict[str, Any]] = {}
    rows = []
    for levels, values in scores.items():
        arm = "+".join(map(str, levels))
        toggles = dict(zip(names, levels, strict=True))
        options = {MODULES[name][0]: MODULES[name][1][level] for name, level in toggles.items()}
        described.append({"name": arm, "label": arm, "toggles": toggles, "values": options})
        for seed, value in values.items():
            run = f"{arm}-s{seed}"
            records[run] = {"arm": arm, "seed": seed, "config": options}
            rows.append({"run": run, "arm": arm, "label": arm, "seed": seed, "bleu": value, "outcome": "ok"})
    frame = pd.DataFrame(rows, columns=["run", "arm", "label", "seed", "bleu", "outcome"])
    present = set(frame["arm"])
    return StudyResults(
        name="random",
        path=Path("nowhere"),
        info={"metric": "bleu", "arms": described, "control": str(described[0]["name"])} | ALL_CLAIMS,
        arms=tuple(ArmResults(a["name"], a["label"], a["toggles"]) for a in described if a["name"] in present),
        factors=factors,
        runs=pd.DataFrame(),
        scores=frame,
        steps=pd.DataFrame(columns=["run", "arm", "label", "seed", "steps", "bleu", "sentences"]),
        metrics=pd.DataFrame(columns=["run", "arm", "label", "seed", "train/step"]),
        failed=pd.DataFrame(columns=["run", "arm", "label", "seed", "state", "reason"]),
        probes={},
        records=records,
        notes=(),
    )


@st.composite
def studies(draw: st.DrawFn) -> StudyResults:
    """2 to 16 arms of one to four two-level factors, 1 to 5 seeds, gains of any sign, runs missing, scores equal."""
    names = list(MODULES)[: draw(st.integers(1, 4))]
    seeds = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    lost, spread = draw(st.sampled_from([0, 0, 0.05, 0.3])), draw(st.sampled_from([0.0, 0.3, 3.0]))
    gains = rng.choice([-6.0, -2.0, 0.0, 2.0, 6.0], len(names))
    scores: dict[tuple[Any, ...], dict[int, float]] = {}
    for levels in itertools.product(*(LEVELS.get(name, [True, False]) for name in names)):
        base = 50 + gains @ np.array([is_on(level) for level in levels])
        values = base + rng.normal(0, 1, seeds) * spread
        kept = rng.random(seeds) >= lost
        scores[levels] = {seed + 1: float(values[seed]) for seed in range(seeds) if kept[seed]}
    if not any(scores.values()):
        scores[next(iter(scores))] = {1: 50.0}
    return study_of(scores, names)


def differences_by_hand(study: StudyResults, arm: str, control: str) -> np.ndarray:
    """Paired by seed, straight from the frame of scores."""
    table = study.scores.pivot(index="seed", columns="arm", values="bleu")[[arm, control]].dropna()
    return np.asarray(table[arm] - table[control])


def contrast_by_hand(study: StudyResults, effect: str) -> np.ndarray:
    """Of the seeds that all arms have: sum of the scores, with the product of the signs, over half the arms."""
    table = study.scores.pivot(index="seed", columns="arm", values="bleu").dropna()
    names = effect.split(" x ")
    signs = [math.prod(1 if is_on(arm.toggles[name]) else -1 for name in names) for arm in study.arms]
    return np.asarray((table[[arm.name for arm in study.arms]] * signs).sum(axis=1) / (len(signs) / 2))


def check_row(row: pd.Series, x: np.ndarray) -> None:
    """Estimate, interval, p, verdict of a row of `comparisons` that rests on x."""
    assert row["n_seeds"] == len(x)
    if len(x) > 1 and not no_spread(x):
        theirs = reference.ttest_1samp(x, 0)
        bounds = theirs.confidence_interval(0.95)
        assert (row["estimate_low"], row["estimate_high"]) == pytest.approx((bounds.low, bounds.high))
        assert row["p"] == pytest.approx(theirs.pvalue, abs=1e-12)
    else:
        assert math.isnan(row["estimate_low"]) and row["verdict"] == "undecided"
    words = {"helps": 1, "reinforce": 1, "higher": 1, "hurts": -1, "overlap": -1, "lower": -1, "undecided": 0}
    side = 1 if row["estimate_low"] > 0 else -1 if row["estimate_high"] < 0 else 0
    assert words[row["verdict"]] == (side if row["p_holm"] <= 0.05 else 0)
    if "pooled_verdict" in row and isinstance(row["pooled_verdict"], str):
        side = 1 if row["pooled_low"] > 0 else -1 if row["pooled_high"] < 0 else 0
        assert words[row["pooled_verdict"]] == (side if row["pooled_p_holm"] <= 0.05 else 0)


def holm_by_hand(p: pd.Series) -> list[float]:
    """statsmodels' correction of those that are defined."""
    known = p.notna().to_numpy()
    adjusted = np.full(len(p), np.nan)
    adjusted[known] = multipletests(p[known], method="holm")[1] if known.any() else []
    return list(adjusted)


@pytest.mark.slow
@settings(max_examples=15)
@given(studies())
def test_tables_of_random_studies(study: StudyResults) -> None:
    tested = results.comparisons(study)
    for _, row in tested.iterrows():
        if "order" in row:
            check_row(row, contrast_by_hand(study, row["effect"]))
        else:
            check_row(row, differences_by_hand(study, row["arm"], str(study.control)))
    for _, family in tested.groupby("kind") if len(tested) else []:
        assert list(family["p_holm"]) == pytest.approx(holm_by_hand(family["p"]), nan_ok=True)
    made = tables.tabulate(study)
    text = tables.markdown(made.grids, made.lines)
    assert "nan" not in text and "inf" not in text.replace("info", "")


@pytest.mark.slow
@settings(max_examples=40)
@given(studies())
def test_claims_on_random_studies(study: StudyResults) -> None:
    """The gains by hand; the best of all only with every arm beaten, and not only where one is behind by itself."""
    found = {claim.key: claim for claim in claims(study)}
    for claim in found.values():
        low, high = claim.effect.low, claim.effect.high
        assert "nan" not in claim.reason
        if claim.verdict != "undecided":
            assert not any(low <= edge <= high for edge in claim.edges)
            assert "Holm's correction" in claim.reason
    names = {"anchor_score": "anchor_loss", "norm_score": "embedding_norm", "noise_score": "noise_factor"}
    control = study.arm(study.control) if study.control else None
    for key, name in names.items():
        claim = found[key]
        others = [a for a in study.arms if control and differ(a, control) == {name}]
        assert bool(claim.contrast) == bool(others)
        if others and control:
            x = differences_by_hand(study, control.name, others[0].name)
            assert claim.seeds == len(x)
            assert claim.verdict in ("undecided", "reproduced" if len(x) and x.mean() > 0 else "not reproduced")
            if claim.verdict != "undecided":
                assert reference.ttest_1samp(x, 0).pvalue <= 0.05
    if control and found["all_three"].verdict != "undecided":
        rivals = [differences_by_hand(study, control.name, a.name) for a in study.arms if a is not control]
        sides = [np.sign(x.mean()) if len(x) > 1 and reference.ttest_1samp(x, 0).pvalue <= 0.05 else 0 for x in rivals]
        if found["all_three"].verdict == "reproduced":
            assert set(sides) == {1} and len(study.arms) == len(study.info["arms"])
        else:
            assert -1 in sides


def differ(one: ArmResults, other: ArmResults) -> set[str]:
    """The factors in which two arms differ."""
    return {name for name in one.toggles if one.toggles[name] != other.toggles[name]}
