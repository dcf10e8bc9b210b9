"""A study whose one factor of several levels makes groups: effects in each, their mean, and how far they are apart."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import edit, write_study
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import studies
from analysis import tables
from analysis.claims import claims
from analysis.effects import effects
from analysis.figures import ablation, facets
from analysis.figures.drawing import draw_module
from analysis.groups import grouping, groups_of
from analysis.judging import NO_VERDICT
from analysis.load import StudyResults, load
from analysis.markup import markdown
from analysis.report.alt_text import describe
from analysis.report.sections.figures import figures_section
from analysis.results import ablation as arms_of
from analysis.results import comparisons, differences
from analysis.sentences import compare
from analysis.stats import mean_interval_t
from analysis.style import arm_style
from analysis.style_sheet import styled

GROUPS = ("diffuseq", "seqdiffuseq", "diffusion_lm")
EFFECTS = {"diffuseq": (10.0, 4.0, 20.0), "seqdiffuseq": (6.0, -2.0, 20.0), "diffusion_lm": (2.0, 1.0, 20.0)}
"""Made-up main effects of anchor loss, embedding norm and noise factor in each method."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs"), "transfer", seeds=(1, 2, 3))


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyResults:
    return load(folder)


def scored(study: StudyResults, scores: Mapping[tuple[str, int], float]) -> StudyResults:
    """The study with these scores by arm and seed; runs without one have no result."""
    frame = study.scores
    keys = list(zip(frame["arm"], frame["seed"], strict=True))
    frame = frame.assign(bleu=[scores.get(key, np.nan) for key in keys])[[key in scores for key in keys]]
    kept = tuple(arm for arm in study.arms if arm.name in set(frame["arm"]))
    return replace(study, scores=frame, arms=kept)


def constructed(study: StudyResults) -> StudyResults:
    """Scores made of the known effects alone, and of a scatter that adds up to nothing over the three seeds."""
    scores = {}
    for arm in study.arms:
        *switches, factor = (arm.toggles[name] for name in ("anchor_loss", "embedding_norm", "noise_factor"))
        half = np.array([1.0 if on else -1.0 for on in (*switches, factor == 4.0)]) / 2
        both = 3.0 * half[0] * half[1] * (arm.toggles["method"] == "seqdiffuseq")
        for seed, scatter in ((1, -1.0), (2, 0.0), (3, 1.0)):
            scores[arm.name, seed] = (
                50 + 5 * seed + float(half @ EFFECTS[arm.toggles["method"]]) + both + scatter * half[0]
            )
    return scored(study, scores)


def test_known_effects_come_out(study: StudyResults) -> None:
    frame = effects(constructed(study)).set_index(["effect", "group"])
    estimate = frame["estimate"]
    for name, of in (("anchor_loss", 0), ("embedding_norm", 1), ("noise_factor", 2)):
        truth = {group: EFFECTS[group][of] for group in GROUPS}
        assert estimate[name, "mean of 3"] == pytest.approx(np.mean(list(truth.values())))
        for group in GROUPS:
            assert estimate[name, group] == pytest.approx(truth[group])
            others = np.mean([truth[other] for other in GROUPS if other != group])
            assert estimate[name, f"{group} - others"] == pytest.approx(truth[group] - others)
    assert estimate["anchor_loss x embedding_norm", "seqdiffuseq"] == pytest.approx(1.5)
    assert estimate["anchor_loss x embedding_norm", "mean of 3"] == pytest.approx(0.5)
    assert list(estimate.xs("method", level="effect")) == pytest.approx([0.0] * 3)
    anchor = frame.loc[("anchor_loss", "diffuseq")]
    expected = mean_interval_t([9.0, 10.0, 11.0])
    assert (anchor["estimate_low"], anchor["estimate_high"]) == pytest.approx((expected.low, expected.high))
    assert anchor["n_seeds"] == 3 and np.isnan(frame.loc[("noise_factor", "diffuseq"), "p"]), "no spread, no p"


def test_rows_and_families(study: StudyResults) -> None:
    frame = effects(study)
    assert len(frame) == 7 * 4 + 3 * 3 + 3
    assert list(frame["group"][:7]) == [*GROUPS, "mean of 3", *(f"{name} - others" for name in GROUPS)]
    counts = {"main": 12, "interaction": 16, "between": 9, "group": 3}
    assert dict(frame["kind"].value_counts()) == counts
    in_groups = frame[frame["group"].isin(GROUPS) & (frame["kind"] == "main")]
    lowest = in_groups.loc[in_groups["p"].idxmin()]
    assert lowest["p_holm"] == pytest.approx(9 * lowest["p"]), "main effects in all groups are one family"
    means = frame[(frame["group"] == "mean of 3") & (frame["kind"] == "main")]
    assert means["p_holm"].min() == pytest.approx(3 * means["p"].min())
    assert set(frame.loc[frame["kind"] == "group", "verdict"]) <= {"higher", "lower", "undecided"}
    assert set(frame.loc[frame["kind"] == "between", "verdict"]) <= {"more", "less", "undecided"}


values = st.floats(0, 100)


@settings(max_examples=6, deadline=None)
@given(st.lists(values, min_size=72, max_size=72))
def test_the_mean_over_groups_of_their_effects_is_the_effect_over_all(study: StudyResults, drawn: list[float]) -> None:
    keys = [(arm.name, seed) for arm in study.arms for seed in (1, 2, 3)]
    made = scored(study, dict(zip(keys, drawn, strict=True)))
    frame = effects(made)
    for name, block in frame[frame["kind"].isin(["main", "interaction"])].groupby("effect"):
        by_group = block.set_index("group")["estimate"]
        assert by_group["mean of 3"] == pytest.approx(by_group[list(GROUPS)].mean(), abs=1e-9), name
    for _, block in frame[frame["kind"].isin(["between", "group"])].groupby("effect"):
        assert block["estimate"].sum() == pytest.approx(0, abs=1e-9), "what one has more the others have less"
    mean = arms_of(made).set_index("arm")["bleu"]
    on = (
        mean[["+anchor+" in name for name in mean.index]].mean()
        - mean[["+rounding+" in name for name in mean.index]].mean()
    )
    overall = frame.set_index(["effect", "group"]).loc[("anchor_loss", "mean of 3"), "estimate"]
    assert overall == pytest.approx(on, abs=1e-9)


def test_arms_are_compared_with_the_control_of_their_own_group(study: StudyResults) -> None:
    frame = arms_of(study).set_index("arm")
    controls = [f"{group}+rounding+nonorm+F1" for group in GROUPS]
    assert frame.loc[controls, "difference"].isna().all() and frame["difference"].notna().sum() == 21
    here, own = (study.values("bleu", f"seqdiffuseq+{rest}") for rest in ("anchor+norm+F4", "rounding+nonorm+F1"))
    expected = np.mean([here[seed] - own[seed] for seed in (1, 2, 3)])
    assert frame.loc["seqdiffuseq+anchor+norm+F4", "difference"] == pytest.approx(expected)
    text = markdown(tables.tabulate(study).grids, [])
    assert text.count("| control |") == 3
    assert len(differences(study)) == 21


def test_a_group_that_is_not_complete_is_named_and_the_others_stay(study: StudyResults) -> None:
    gone = [("diffuseq+anchor+norm+F4", seed) for seed in (1, 2, 3)] + [("seqdiffuseq+rounding+norm+F1", 3)]
    scores = {(arm.name, seed): value for arm in study.arms for seed, value in study.values("bleu", arm.name).items()}
    part = scored(study, {key: value for key, value in scores.items() if key not in gone})
    frame = effects(part).set_index(["effect", "group"])
    assert "diffuseq" not in frame.index.get_level_values("group")
    assert frame.loc[("anchor_loss", "seqdiffuseq"), "n_seeds"] == 2
    assert frame.loc[("anchor_loss", "diffusion_lm"), "n_seeds"] == 3
    assert frame.loc[("anchor_loss", "mean of 2"), "n_seeds"] == 2, "over the seeds that all groups have"
    made = tables.tabulate(part)
    lines = "\n".join(made.lines)
    assert "nan" not in markdown(made.grids, made.lines)
    assert "No effects in diffuseq: they need a seed with a result in every combination" in lines
    assert "with a result in all arms, as effects need: 1 2)" in lines


def test_one_group_alone_has_no_mean(study: StudyResults) -> None:
    own = {(arm.name, seed): value for arm in study.arms if arm.name.startswith("seqdiffuseq")
           for seed, value in study.values("bleu", arm.name).items()}  # fmt: skip
    part = scored(study, own)
    frame = effects(part)
    assert set(frame["group"]) == {"seqdiffuseq"} and len(frame) == 7
    assert part.control is None and len(differences(part)) == 7, "the study's control is of another group"
    assert arms_of(part)["difference"].notna().sum() == 7
    assert "difference to control" in tables.tabulate(part).grids[0].heads
    few = scored(part, {(name, seed): value for (name, seed), value in own.items() if "rounding" in name})
    figure = ablation.figure(few)[0]
    assert "BLEU, difference to its own control" in {" ".join(ax.get_xlabel().split()) for ax in figure.axes}


def at_the_floor(root: Path, groups: tuple[str, ...]) -> StudyResults:
    """A study in which all arms of these groups score next to nothing."""
    path = write_study(root, "transfer", seeds=(1, 2, 3))
    for file in path.glob("*/scores.json"):
        if file.parent.name.startswith(tuple(f"{name}+" for name in groups)):
            edit(file, bleu=json.loads(file.read_text())["bleu"] / 40)
    return load(path)


def test_no_verdict_on_a_group_whose_control_has_not_learned(tmp_path: Path) -> None:
    study = at_the_floor(tmp_path, ("diffuseq",))
    assert not study.no_verdict
    assert study.banner.startswith(
        "No verdict on diffuseq: nothing shows that the control arm, diffuseq · rounding · nonorm · F1, has learned."
    )
    frame = comparisons(study)
    alone = frame["group"].isin(["seqdiffuseq", "diffusion_lm"])
    assert set(frame.loc[~alone, "verdict"]) == set(frame.loc[~alone, "pooled_verdict"].dropna()) == {NO_VERDICT}
    assert NO_VERDICT not in set(frame.loc[alone, "verdict"]) and frame["p"].notna().all()
    made = tables.tabulate(study)
    shown = [row for row in made.grids[1].rows if row[0].endswith((": diffuseq", ": mean of 3"))]
    assert len(shown) == 14 and all(row[3:6] == ("–", "–", NO_VERDICT) for row in shown)
    assert "Bonferroni for 6" in "\n".join(made.lines)
    judged_ = differences(study).set_index("arm")["verdict"]
    assert (judged_.loc[[name for name in judged_.index if name.startswith("diffuseq")]] == NO_VERDICT).all()
    assert NO_VERDICT not in set(judged_.loc[[name for name in judged_.index if not name.startswith("diffuseq")]])


def test_claims_get_no_verdict_where_the_group_of_the_control_has_not_learned(tmp_path: Path) -> None:
    study = at_the_floor(tmp_path, ("diffuseq",))
    asked = replace(study, info=study.info | {"claims": ["anchor_score", "noise_score"]})
    assert {claim.verdict for claim in claims(asked)} == {NO_VERDICT}
    other = replace(asked, info=asked.info | {"control": "seqdiffuseq+rounding+nonorm+F1"})
    assert NO_VERDICT not in {claim.verdict for claim in claims(other)}


def test_no_verdict_at_all_where_no_group_has_learned(tmp_path: Path) -> None:
    study = at_the_floor(tmp_path, GROUPS)
    assert study.no_verdict.count("No verdict on ") == 3 and not study.no_verdicts
    assert set(comparisons(study)["verdict"]) == {NO_VERDICT}


def test_sentences_are_compared_within_a_group(tmp_path: Path) -> None:
    path = write_study(tmp_path, "transfer", seeds=(1,))
    for file in path.glob("*/scores.json"):
        edit(file, bleu=float(len(file.parent.name)))
        rows = [json.loads(line) for line in (file.parent / "samples.jsonl").read_text().splitlines()]
        values = [row | {"sentence_own": float(len(file.parent.name))} for row in rows]
        (file.parent / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in values))
        edit(file, own=float(len(file.parent.name)))
    edit(path / "study.json", metric="own")
    frame, notes = compare(load(path))
    assert not notes and len(frame) == 21
    own = frame.set_index("arm")
    lengths = {arm: len(f"{arm}-s1-00000001") for arm in own.index}
    for arm, length in lengths.items():
        control = f"{arm.split('+')[0]}+rounding+nonorm+F1"
        assert own.loc[arm, "control_own"] == len(f"{control}-s1-00000001")
        assert own.loc[arm, "own"] == length


@pytest.mark.slow
def test_the_report_shows_figures_of_any_height(study: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "_tallest", ContextVar("tallest", default=0.5))
    monkeypatch.setattr(facets, "group_panels", lambda study: [])
    text = str(figures_section(study).body)
    assert "12 x 6 panels" not in text and "figure-loss-collapse" in text


@pytest.mark.parametrize("seeds", [(1,), (1, 2), (1, 2, 3)])
def test_the_figure_has_a_block_for_each_effect(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    study = load(write_study(tmp_path, "transfer", seeds=seeds))
    with styled():
        figure, frame = draw_module(ablation, study)
        figure.canvas.draw()
    assert len(figure.axes) == 3
    names = [text.get_text() for text in figure.axes[2].get_yticklabels()]
    assert names == [*GROUPS, "mean of 3"] * 3
    heads = [text.get_text() for text in figure.axes[2].texts]
    assert heads == ["anchor loss", "embedding norm", "noise factor 4 vs 1"]
    assert set(frame["group"].dropna()) == {*GROUPS, "mean of 3"} and not (frame["kind"] == "between").any()
    assert "anchor_loss (mean of 3)" in describe("ablation", frame)
    looks = arm_style(study)
    assert len({str(look) for look in looks.values()}) == 8
    assert looks["diffuseq+anchor+norm+F4"] == looks["diffusion_lm+anchor+norm+F4"]


def test_groups_go_by_the_one_factor_of_several_levels() -> None:
    assert grouping({"a": [1, 2, 3], "b": [0, 1]}) == "a"
    assert grouping({"a": [1, 2, 3]}) == "" and grouping({"a": [0, 1], "b": [0, 1]}) == ""
    assert grouping({"a": [1, 2, 3], "b": [1, 2, 3], "c": [0, 1]}) == ""
    assert grouping({"a": [1, 2, 3], "b": [0]}) == "", "nothing is varied within a group"


def test_a_factor_of_numbers_makes_groups_too(tmp_path: Path) -> None:
    """Three noise factors x anchor loss: no name of a factor is special."""
    levels: list[Any] = [1.0, 2.0, 4.0]
    arms = {
        f"{a}+F{f:g}": {"anchor_loss": a == "anchor", "noise_factor": f} for a in ("anchor", "none") for f in levels
    }
    factors = {"anchor_loss": [True, False], "noise_factor": levels}
    found = groups_of(factors, arms, "anchor+F4")
    assert [group.level for group in found] == levels
    assert [group.control for group in found] == ["anchor+F1", "anchor+F2", "anchor+F4"]
    path = write_study(tmp_path, "modules", seeds=(1, 2, 3))
    info = json.loads((path / "study.json").read_text())
    edit(path / "study.json", factors=info["factors"] | {"noise_factor": [1.0, 2.0, 4.0]})
    study = load(path)
    frame = effects(study)
    assert set(frame["group"]) == {"F1", "F4", "mean of 2", "F1 - others", "F4 - others"}
    assert "No effects in F = 2" in "\n".join(tables.tabulate(study).lines)


def test_the_study_transfer_has_each_method_as_released_as_its_control() -> None:
    study = studies.get("transfer")
    toggles = {arm.name: arm.toggles for arm in study.arms}
    found = groups_of(study.factors, toggles, study.control)
    assert [group.level for group in found] == list(GROUPS) and {len(group.arms) for group in found} == {8}
    for group in found:
        arm = next(arm for arm in study.arms if arm.name == group.control)
        assert arm.values == {
            "method": group.level,
            "token_loss": "rounding",
            "embedding_norm": "none",
            "noise_factor": 1.0,
        }


def test_of_one_method_alone_the_other_factors_have_their_effects(tmp_path: Path) -> None:
    """What `--only` leaves of a study: its factor of one level is none."""
    path = write_study(tmp_path, "transfer", seeds=(1, 2, 3))
    whole = effects(load(path))
    info = json.loads((path / "study.json").read_text())
    arms = [arm for arm in info["arms"] if arm["toggles"]["method"] == "seqdiffuseq"]
    factors = info["factors"] | {"method": ["seqdiffuseq"]}
    edit(path / "study.json", arms=arms, factors=factors, control="seqdiffuseq+rounding+nonorm+F1")
    part = load(path)
    assert list(part.factors) == ["anchor_loss", "embedding_norm", "noise_factor"] and not part.groups
    alone, within = effects(part).set_index("effect"), whole[whole["group"] == "seqdiffuseq"].set_index("effect")
    assert len(alone) == 7 and alone["estimate"].to_dict() == pytest.approx(within["estimate"].to_dict())
    draw_module(ablation, part, None)
