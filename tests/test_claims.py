"""The verdicts on the paper's claims: hand-made studies with known answers, and never more than the interval allows."""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import edit, write_study
from scipy import stats as reference

from ablations.studies import STUDIES
from analysis.claims import NO_CONTROL, Claim, claims, digits
from analysis.footer import footer
from analysis.load import load
from analysis.questions import QUESTIONS, measures
from analysis.report.page import page
from analysis.snapshot import snapshot
from analysis.stats import Interval
from sweeps.tuning.compare import TunedStudy

SEEDS = (1, 2, 3, 4)
WOBBLE = {1: -0.3, 2: 0.1, 3: 0.3, 4: -0.1}
"""Added to scores seed by seed, so that differences have a spread."""


def verdicts(path: Path) -> dict[str, Claim]:
    return {claim.key: claim for claim in claims(load(path))}


def rescore(path: Path, bleu: Callable[[dict[str, Any], int], float]) -> None:
    """Give every run the score that its toggles and seed call for, with any number of steps."""
    for file in path.glob("*/run.json"):
        record = json.loads(file.read_text())
        value = bleu(record["toggles"], record["seed"])
        steps = [{"steps": k, "calls": k, "bleu": value, "seconds": 1.0, "sentences": 100} for k in (5, 20, 50)]
        edit(file.parent / "scores.json", bleu=value, by_steps=steps)


def reprobe(path: Path, **arrays: Any) -> None:
    for file in path.glob("*/probes.npz"):
        kept = dict(np.load(file))
        np.savez(file, **kept | {key: np.asarray(value) for key, value in arrays.items()})


def modules(tmp_path: Path, gains: Sequence[float], seeds: Sequence[int] = SEEDS) -> Path:
    """A 2x2x2 in which each module adds its gain, with a different wobble in every arm."""
    path = write_study(tmp_path, "modules", seeds=seeds)

    def bleu(toggles: dict[str, Any], seed: int) -> float:
        on = [toggles["anchor_loss"], toggles["embedding_norm"], toggles["noise_factor"] == 4]
        return 50 + float(np.dot(gains, on)) + WOBBLE[seed] * (1 + 0.3 * sum(on))

    rescore(path, bleu)
    return path


def test_of_two_seeds_claims_show_both_values_in_place_of_an_interval(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 6, 8), seeds=(1, 2))
    found = verdicts(path)["anchor_score"]
    one, two = found.few
    assert found.effect.estimate == pytest.approx((one + two) / 2) and "too wide to be shown" in found.reason
    report = page(load(path))
    card = report[report.index(found.statement) :].partition("</li>")[0]
    assert (
        "both seeds: " in card
        and "95% interval" not in card
        and card.count("<circle") == 2
        and 'class="bar"' not in card
    )
    row = next(row for row in snapshot(path)["claims"] if row["statement"] == found.statement)
    assert ";" in row["effect"] and "[" not in row["effect"]


def test_gains_are_reproduced_and_the_full_model_is_best(tmp_path: Path) -> None:
    found = verdicts(modules(tmp_path, (10, 6, 8)))
    for key, gain in {"anchor_score": 10, "norm_score": 6, "noise_score": 8, "all_three": 6}.items():
        claim = found[key]
        assert claim.verdict == "reproduced", claim
        assert (claim.effect.estimate, claim.seeds) == (pytest.approx(gain, abs=0.1), 4)
        assert claim.effect.low > 0
    assert found["norm_score"].contrast == "anchor · norm · F4 minus anchor · nonorm · F4"
    assert "closest rival of 7, anchor · nonorm · F4" in found["all_three"].contrast
    assert found["few_steps"].verdict == "undecided"  # the same at any K: no spread to judge by
    assert "no spread" in found["few_steps"].reason


def test_losses_are_evidence_against(tmp_path: Path) -> None:
    found = verdicts(modules(tmp_path, (10, -6, 8)))
    assert found["norm_score"].verdict == "not reproduced"
    assert found["norm_score"].effect.high < 0
    assert found["all_three"].verdict == "not reproduced"
    assert "anchor · nonorm · F4" in found["all_three"].contrast
    assert found["anchor_score"].verdict == "reproduced"
    assert "Averaged over all settings of the other factors the effect is −6.0" in found["norm_score"].reason


def test_no_gain_is_no_evidence_against(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 0, 8))
    first = next(path.glob("anchor+norm+F4-s1-*"))
    edit(first / "scores.json", bleu=66.0)
    found = verdicts(path)
    assert found["norm_score"].verdict == found["all_three"].verdict == "undecided"
    assert "values for which it is not" in found["norm_score"].reason


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_one_seed_decides_nothing(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    found = verdicts(modules(tmp_path, (1, 1, 1), seeds))
    if len(seeds) == 1:
        assert {claim.verdict for claim in found.values()} == {"undecided"}
        assert not any(claim.effect.defined for claim in found.values())
        assert "One seed has no interval" in found["anchor_score"].reason
        assert "One seed has no interval" in found["all_three"].reason
    else:
        assert "alone would say reproduced" in found["anchor_score"].reason


@pytest.mark.parametrize(
    ("kind", "tested"),
    [
        ("noise_factor", {"noise_insufficient", "noise_degeneration", "noise_score", "few_steps"}),
        ("token_loss", {"objective_collapse", "rounding_collapse", "anchor_spread", "anchor_score", "few_steps"}),
        ("many", {"few_steps"}),
    ],
)
def test_what_a_study_does_not_vary_is_undecided_with_the_reason(kind: str, tested: set[str], tmp_path: Path) -> None:
    path = write_study(tmp_path, kind, seeds=(1, 2, 3))
    edit(path / "study.json", claims=[question.key for question in QUESTIONS])
    found = verdicts(path)
    assert list(found) == [question.key for question in QUESTIONS]
    assert {key for key, claim in found.items() if claim.seeds} == tested
    for key in found.keys() - tested:
        assert found[key].verdict == "undecided"
        assert found[key].reason.startswith("This study")
        assert math.isnan(found[key].effect.estimate)


@pytest.mark.parametrize(
    ("kind", "judged"),
    [
        ("modules", {question.key for question in QUESTIONS} - {"objective_collapse", *STUDIES["systems"].claims}),
        ("noise_factor", {"noise_insufficient", "noise_degeneration", "noise_score", "few_steps"}),
        ("token_loss", {"objective_collapse", "rounding_collapse", "anchor_spread", "anchor_score", "few_steps"}),
        ("many", set()),
        ("systems", {"near_autoregressive"}),
    ],
)
def test_a_study_that_names_no_claims_is_asked_about_what_it_varies(
    kind: str, judged: set[str], tmp_path: Path
) -> None:
    path = write_study(tmp_path, kind, seeds=(1, 2, 3))
    found = verdicts(path)
    assert set(found) == judged
    edit(path / "study.json", claims=[question.key for question in QUESTIONS])
    for key, claim in verdicts(path).items():  # what can be tested, and thus Holm's correction, is the same
        assert (claim.verdict, claim.reason) == (found[key].verdict, found[key].reason) if key in found else True


def test_a_claim_stays_where_the_arms_it_needs_have_no_result(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2))
    for run in path.glob("none-*/run.json"):
        edit(run, state="failed", reason="killed")
    assert verdicts(path)["objective_collapse"].reason.startswith("This study has no arm")


@pytest.mark.slow
def test_a_study_judges_the_claims_it_names(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 6, 8))
    every = verdicts(path)
    edit(path / "study.json", claims=["norm_score", "invented", "anchor_score"])
    found = verdicts(path)
    assert list(found) == ["anchor_score", "norm_score"]
    assert "after Holm's correction for 2 score claims" in found["norm_score"].reason
    assert found["norm_score"].effect == every["norm_score"].effect
    note = "study.json names a claim that is not known: invented"
    assert f"Note: {note}." in footer(load(path))
    assert f"<li>{note}.</li>" in page(load(path))


@pytest.mark.slow
def test_without_claims_the_report_promises_no_verdicts_on_them(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    assert 'id="verdicts"' in page(load(path))
    edit(path / "study.json", claims=[])
    assert claims(load(path)) == []
    text = page(load(path))
    assert "verdicts" not in text.replace("How to read the verdicts", "") and "claim" not in visible_text(text)


def visible_text(page: str) -> str:
    """The page without style, scripts and tags."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(style|script).*?</\1>", " ", page))


def test_collapse_is_an_error_that_vanishes_with_the_tokens(tmp_path: Path) -> None:
    """Errors of the last quarter of training over the anchor's 0.2: 0.002 is collapse, 0.3 is none, with their nll."""
    path = write_study(tmp_path, "token_loss", seeds=SEEDS)
    ends = {"none": (0.002, 5.0, 3.0), "rounding": (0.3, 2.0, 6.0)}
    for file in path.glob("*/metrics.jsonl"):
        record = json.loads((file.parent / "run.json").read_text())
        mse, nll, norm = ends.get(record["toggles"]["token_loss"], (0.2, 1.0, 6.0))
        mse *= 1 + 0.01 * record["seed"] ** 2 * (record["toggles"]["token_loss"] != "anchor")
        norm += 0.01 * record["seed"] ** 2
        rows: list[dict[str, Any]] = [{"train/step": n, "train/mse": 9.0, "train/nll": 6.0} for n in range(1, 7)]
        rows[0] |= {"diag/norm_mean": 6.0, "diag/cosine": 0.0, "diag/types": 9}
        rows += [{"train/step": n, "train/mse": mse, "train/nll": nll} for n in (7, 8)]
        rows[-1] |= {"diag/norm_mean": norm, "diag/cosine": 0.1 * (norm > 5), "diag/types": 9}
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert measures.variance_share(load(path), "rounding")[1] == pytest.approx(0.9 * (6.01 / 6) ** 2)
    found = verdicts(path)
    mean = math.prod(1 + 0.01 * seed**2 for seed in SEEDS) ** (1 / len(SEEDS))
    assert found["objective_collapse"].verdict == "reproduced"
    assert found["objective_collapse"].effect.estimate == pytest.approx(0.01 * mean)
    assert "% of their variance" in found["objective_collapse"].reason
    assert found["rounding_collapse"].verdict == "not reproduced"
    assert found["rounding_collapse"].effect.estimate == pytest.approx(1.5 * mean)


def test_a_small_error_of_a_better_model_is_no_collapse(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=SEEDS)
    for file in path.glob("*/metrics.jsonl"):
        good = json.loads((file.parent / "run.json").read_text())["toggles"]["token_loss"] == "none"
        row = {"train/step": 1, "train/mse": 0.001 if good else 0.2, "train/nll": 0.5 if good else 1.0}
        file.write_text(json.dumps(row) + "\n")
    assert set(measures.error_ratio(load(path), "none", "anchor").values()) == {1.0}
    assert verdicts(path)["objective_collapse"].verdict != "reproduced"


def test_norms_of_frequent_and_rare_types(tmp_path: Path) -> None:
    """50 types, a fifth is 10: medians 2 and 1 whatever lies between; types never seen do not count."""
    path = modules(tmp_path, (10, 6, 8))
    for file in path.glob("*/probes.npz"):
        seed = json.loads((file.parent / "run.json").read_text())["seed"]
        norm = np.concatenate([np.full(10, 2.0 + 0.01 * seed**2), np.full(30, 9.0), np.ones(10), np.full(7, 99.0)])
        frequency = np.concatenate([np.arange(60, 10, -1), np.zeros(7)])
        np.savez(file, frequency=frequency, source_frequency=frequency[::-1], norm=norm)
    ratios = measures.frequent_to_rare(load(path), "anchor+nonorm+F4")
    assert ratios == pytest.approx({1: 2.01, 2: 2.04, 3: 2.09, 4: 2.16})
    claim = verdicts(path)["norm_imbalance"]
    assert claim.verdict == "reproduced"
    assert claim.effect.estimate == pytest.approx(float(reference.gmean(list(ratios.values()))))


def test_measures_of_source_and_target_types_together_decide_nothing(tmp_path: Path) -> None:
    """As runs of earlier versions left them; in every run, or in one."""
    path = write_study(tmp_path, "modules", seeds=SEEDS)
    before = verdicts(path)
    assert {before[key].verdict for key in ("norm_imbalance", "anchor_spread")} == {"reproduced"}
    assert "earlier version" not in " ".join(footer(load(path)))
    old = next(path.glob("anchor+nonorm+F4-s2-*"))
    for folder in (old, next(path.glob("rounding+norm+F4-s1-*"))):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        kept = [{key: value for key, value in row.items() if key != "diag/types"} for row in rows]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        arrays = dict(np.load(folder / "probes.npz"))
        del arrays["source_frequency"]
        np.savez(folder / "probes.npz", **arrays)
    after = verdicts(path)
    for key in ("norm_imbalance", "anchor_spread"):
        assert (after[key].verdict, after[key].effect) == ("undecided", before[key].effect)
        assert "source and target types together" in after[key].reason
    assert "source and target types together once" in after["rounding_collapse"].reason
    assert after["noise_score"].reason == before["noise_score"].reason
    note = next(line for line in footer(load(path)) if "earlier version" in line)
    assert note.startswith("Note: 2 of 32 runs, of an earlier version, measured norms")


def test_recovery_and_degeneration(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 6, 8))
    t = np.array([0, 500, 1000, 1500, 2000])
    for file in path.glob("*/probes.npz"):
        record = json.loads((file.parent / "run.json").read_text())
        low, shift = record["toggles"]["noise_factor"] == 1, 0.01 * record["seed"] ** 2
        oneshot = np.array([20.0, 30, 30, 30, 50]) if low else np.full(5, 60.0)
        oneshot[0] -= 30 * shift if low else 0
        nearest = np.array([1.0, 0.8, 0.6, 0.1, 0.0]) - shift
        np.savez(file, t=t, nearest=nearest, fig5_t=t, oneshot_bleu=oneshot)
    found = verdicts(path)
    study = load(path)
    assert measures.recovery(study, "anchor+norm+F1")[2] == pytest.approx(76)
    assert measures.one_shot_drop(study, "anchor+norm+F1")[2] == pytest.approx(31.2)
    assert found["noise_insufficient"].verdict == found["noise_degeneration"].verdict == "reproduced"
    reprobe(path, nearest=np.array([0.3, 0.2, 0.1, 0.0, 0.0]))
    assert verdicts(path)["noise_insufficient"].verdict == "undecided"  # all seeds alike: no spread


def test_few_steps(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 6, 8))

    def lose(by: float) -> Claim:
        for file in path.glob("*/scores.json"):
            seed = json.loads((file.parent / "run.json").read_text())["seed"]
            rows = [(5, 30.0), (20, 70.0 - by + WOBBLE[seed] / 3), (50, 70.0)]
            edit(file, by_steps=[{"steps": k, "bleu": bleu} for k, bleu in rows])
        return verdicts(path)["few_steps"]

    assert lose(0.2).verdict == "reproduced"
    assert "With 5 steps: −40.0 BLEU against 50" in lose(0.2).reason
    assert lose(5.0).verdict == "not reproduced"
    assert lose(1.0).verdict == "undecided"


def test_a_seed_without_a_value_is_said_also_of_steps(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 6, 8))
    edit(next(path.glob("anchor+norm+F4-s2-*")) / "run.json", state="failed", reason="killed")
    edit(next(path.glob("anchor+norm+F4-s3-*")) / "scores.json", by_steps=None)
    claim = verdicts(path)["few_steps"]
    assert claim.seeds == 2
    assert "2 of 4 seeds gave no value" in claim.reason and "without what is measured here" in claim.reason


def test_a_model_that_learned_nothing_says_nothing_about_steps(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2, 3))
    rescore(path, lambda toggles, seed: 0.1 * seed)
    assert {claim.verdict for claim in verdicts(path).values()} == {"no verdict"}
    for scores in path.glob("*/scores.json"):  # as of earlier versions, of whose runs the floor is not known
        found = json.loads(scores.read_text())
        scores.write_text(json.dumps({name: value for name, value in found.items() if not name.startswith("floor/")}))
    claim = verdicts(path)["few_steps"]
    assert claim.verdict == "undecided"
    assert "below 10 BLEU" in claim.reason


def test_without_study_json_the_full_model_is_found(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 6, 8))
    before = verdicts(path)
    (path / "study.json").unlink()
    after = verdicts(path)
    assert after["norm_score"].verdict == "reproduced"
    assert after["norm_score"].effect == before["norm_score"].effect


def test_without_a_result_of_the_control_nothing_is_compared(tmp_path: Path) -> None:
    path = modules(tmp_path, (10, 6, 8))
    for run in path.glob("anchor+norm+F4-*/run.json"):
        edit(run, state="failed", reason="killed")
    found = verdicts(path)
    assert {claim.verdict for claim in found.values()} == {"undecided"}
    assert {claim.reason for claim in found.values()} == {NO_CONTROL}


def test_the_best_of_all_needs_all(tmp_path: Path) -> None:
    """An arm whose runs all failed is no rival that was beaten; one that is ahead decides without it."""
    path = modules(tmp_path, (10, 6, 8))
    for run in path.glob("rounding+nonorm+F1-*/run.json"):
        edit(run, state="failed", reason="killed")
    claim = verdicts(path)["all_three"]
    assert claim.verdict == "undecided" and "none of rounding · nonorm · F1" in claim.reason
    assert claim.effect.low > 0
    for scores in path.glob("anchor+nonorm+F4-*/scores.json"):
        edit(scores, bleu=json.loads(scores.read_text())["bleu"] + 20)
    claim = verdicts(path)["all_three"]
    assert claim.verdict == "not reproduced"
    assert "a better rival of 6" in claim.contrast and "picked because it is ahead" in claim.reason


def test_mechanisms_and_scores_are_corrected_apart(tmp_path: Path) -> None:
    """Four scores and three mechanisms can be tested: each p is multiplied by the claims of its own family."""
    study = load(modules(tmp_path, (10, 6, 8)))
    asked = [ask(study) for ask in QUESTIONS]
    assert {family: sum(q.family == family for q in asked) for family in ("score", "mechanism")} == {
        "score": 5, "mechanism": 6,
    }  # fmt: skip
    for family in ("score", "mechanism"):
        p = {q.key: q.pvalue for q in asked if q.family == family and math.isfinite(q.pvalue)}
        smallest = min(p, key=lambda key: p[key])
        reason = next(claim.reason for claim in claims(study) if claim.key == smallest)
        assert f"after Holm's correction for {len(p)} {family} claims" in reason
        value = len(p) * p[smallest]
        assert (f"p = {value:.3f}" if value >= 0.001 else "p < 0.001") in reason


def test_lost_seeds_and_diverged_runs_are_said(tmp_path: Path) -> None:
    """A seed that failed in one of two arms is missing from the comparison though it has a result in the other."""
    path = modules(tmp_path, (10, 6, 8))
    edit(next(path.glob("anchor+nonorm+F4-s2-*")) / "run.json", state="failed", reason="killed")
    edit(next(path.glob("anchor+nonorm+F4-s3-*")) / "run.json", outcome="diverged")
    claim = verdicts(path)["norm_score"]
    assert claim.seeds == 3
    assert "1 of 4 seeds gave no value" in claim.reason
    assert "anchor · nonorm · F4, seed 3, diverged" in claim.reason


@pytest.mark.parametrize(("value", "text"), [(25.8, "25.8"), (1.676, "1.68"), (0.00217, "0.0022"), (0.0, "0.00")])
def test_effects_are_written_with_the_digits_they_need(value: float, text: str) -> None:
    claim = Claim("k", "s", "undecided", Interval(value, value, value, 3), "times", "c", "r", 3)
    assert f"{value:.{digits(claim)}f}" == text


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_names_claims_that_there_are(name: str) -> None:
    assert set(STUDIES[name].claims) <= {each.key for each in QUESTIONS}
    assert bool(STUDIES[name].claims) == (name not in ("schedule", "samplers", "self_conditioning", "transfer"))


def test_arms_at_their_own_best_are_judged_by_what_their_factors_set(tmp_path: Path) -> None:
    """A search gives each arm a learning rate of its own: they still differ in one module alone."""
    path = write_study(tmp_path, "modules")
    before = {claim.key: claim.verdict for claim in claims(load(path))}
    info = json.loads((path / "study.json").read_text())
    rates = {arm["name"]: {"lr": (1 + i) / 1000} for i, arm in enumerate(info["arms"])}
    arms = [arm | {"values": arm["values"] | rates[arm["name"]]} for arm in info["arms"]]
    tuned = TunedStudy.of(STUDIES["modules"], rates)
    edit(path / "study.json", arms=arms, varies=tuned.varies)
    for file in path.glob("*/run.json"):
        record = json.loads(file.read_text())
        edit(file, config=record["config"] | rates[record["arm"]])
    assert {claim.key: claim.verdict for claim in claims(load(path))} == before
    assert tuned.arms[0].values.keys() - set(tuned.varies) == {"lr"}
