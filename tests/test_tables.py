"""Frames of a study into tables."""

import csv
import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from fake_runs import BANNER, SIGNATURE, edit, score_row, write_study
from rich.console import Console

from analysis import results, tables
from analysis.load import load
from analysis.markup import markdown
from analysis.stats import mean_interval_t


def runs(path: Path) -> list[Path]:
    return sorted(path.glob("*/run.json"))


def test_the_ablation_frame_is_what_the_runs_say(modules: Path) -> None:
    study = load(modules)
    frame = results.ablation(study).set_index("arm")
    toggles = {"anchor_loss": True, "embedding_norm": True, "noise_factor": 1.0}
    scores = [score_row(toggles, np.random.default_rng([seed, 1]), seed)["bleu"] for seed in (1, 2, 3)]
    row, full = frame.loc["anchor+norm+F1"], list(study.values("bleu", "anchor+norm+F4").values())
    assert row["bleu"] == pytest.approx(np.mean(scores))
    assert row["bleu_low"] == pytest.approx(mean_interval_t(scores).low)
    assert row["difference"] == pytest.approx(np.mean(scores) - np.mean(full))
    assert row["difference_high"] == pytest.approx(mean_interval_t(np.subtract(scores, full)).high)
    assert (row["n_seeds"], row["seeds"], row["toggle/noise_factor"]) == (3, "1 2 3", 1.0)
    assert np.isnan(frame.loc["anchor+norm+F4", "difference"])


def test_effects_by_arithmetic(modules: Path) -> None:
    study = load(modules)
    frame = results.effects(study).set_index("effect")
    mean = results.ablation(study).set_index("arm")["bleu"]
    on = mean[[name.startswith("anchor") for name in mean.index]].mean()
    off = mean[[name.startswith("rounding") for name in mean.index]].mean()
    assert frame.loc["anchor_loss", "estimate"] == pytest.approx(on - off)
    assert list(frame["order"]) == [1, 1, 1, 2, 2, 2, 3]
    assert frame.loc["anchor_loss", "verdict"] == "helps"
    assert set(frame["verdict"][3:]) <= {"reinforce", "overlap", "undecided"}


def test_effects_use_complete_seeds_only(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2, 3))
    before = results.effects(load(path))
    edit(next(path.glob("anchor+norm+F1-s3-*/run.json")), state="failed", reason="killed")
    study = load(path)
    after = results.effects(study)
    assert list(before["n_seeds"]) == [3] * 7
    assert list(after["n_seeds"]) == [2] * 7
    assert "as effects need: 1 2)" in "\n".join(tables.grids(study)[1])


def test_an_incomplete_factorial_falls_back_to_differences(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    for run in path.glob("rounding+nonorm+F1-*/run.json"):
        edit(run, state="failed", reason="killed")
    study = load(path)
    assert results.effects(study).empty
    _, lines, arms, tested = tables.grids(study)
    assert len(arms) == 7
    assert set(tested["kind"]) == {"difference"}
    assert any("every combination" in line for line in lines)


def test_what_the_seeds_of_arms_have_in_common_is_said(tmp_path: Path) -> None:
    """Means are over an arm's own seeds, a difference over those of both: it is not the difference of the means."""
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2, 3))
    even = "\n".join(tables.grids(load(path))[1])
    assert "Seeds: 1 2 3. " in even and "not the same in every arm" not in even
    edit(next(path.glob("F1-s3-*/run.json")), state="failed", reason="killed")
    _, lines, arms, tested = tables.grids(load(path))
    assert "Seeds: 1 2 3 (not the same in every arm: a difference is over those that both arms have)" in "\n".join(
        lines
    )
    means = arms.set_index("arm")["bleu"]
    assert tested.iloc[0]["estimate"] != pytest.approx(means["F1"] - means["F4"])
    for run in path.glob("F4-s[12]-*/run.json"):
        edit(run, state="failed", reason="killed")
    edit(next(path.glob("F1-s1-*/run.json")), state="finished")
    tested = tables.grids(load(path))[3].set_index("arm")
    assert tested.loc["F1", "n_seeds"] == 0 and tested.loc["F1", "verdict"] == "undecided"


def test_how_many_comparisons_are_corrected_together_is_said(tmp_path: Path) -> None:
    """Those that have a p: one without a spread has none and does not count."""
    single = load(write_study(tmp_path / "single", "token_loss", seeds=(1,)))
    lines = "\n".join(tables.grids(single)[1])
    assert "here no difference has a p." in lines and "one difference" not in lines
    path = write_study(tmp_path, "token_loss", seeds=(1, 2, 3))
    assert "Holm's correction among 3 differences" in "\n".join(tables.grids(load(path))[1])
    for scores in path.glob("none-*/scores.json"):
        twin = next(path.glob(f"anchor-{scores.parent.name.split('-')[1]}-*/scores.json"))
        edit(scores, bleu=json.loads(twin.read_text())["bleu"] - 60)
    lines = "\n".join(tables.grids(load(path))[1])
    assert "Holm's correction among 2 differences" in lines and "Undecided does not mean no effect." in lines
    for run in path.glob("[!a]*/run.json"):
        edit(run, state="failed", reason="killed")
    assert "(one difference: nothing to correct)" in "\n".join(tables.grids(load(path))[1])


def test_a_study_of_several_factors_of_many_levels_says_why_it_has_no_effects(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    info = json.loads((path / "study.json").read_text())
    more = {"noise_factor": [4.0, 2.0, 1.0], "anchor_loss": [True, False, None]}
    edit(path / "study.json", factors=info["factors"] | more)
    study = load(path)
    assert results.effects(study).empty
    said = "they are computed only where every factor has two levels, or all but one"
    assert said in "\n".join(tables.grids(study)[1])


def test_a_study_of_one_factor_has_differences(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "noise_factor", seeds=(1, 2, 3)))
    frame = results.differences(study)
    assert list(frame["arm"]) == ["F1", "F2", "F3", "F6", "F8"]
    assert (frame["p_holm"] >= frame["p"]).all()
    undecided = frame["verdict"] == "undecided"
    assert (frame["seeds_needed"][undecided] > 3).all()
    assert frame["seeds_needed"][~undecided].isna().all()


def test_one_seed_gives_numbers_but_no_interval(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "modules", seeds=(4,)))
    shown, lines, arms, tested = tables.grids(study)
    assert arms["bleu"].notna().all()
    assert arms["bleu_low"].isna().all()
    assert set(tested["verdict"]) == {"undecided"}
    text = markdown(shown, lines)
    assert "(n/a)" in text
    assert "[" not in text.split("Effects:")[1].split("\n\n")[1].replace("[95% interval]", "")
    assert "One seed: no interval" in text


def test_markdown_has_provenance_and_whole_rows(modules: Path) -> None:
    shown, lines, _, _ = tables.grids(load(modules))
    text = markdown(shown, lines)
    for needed in (
        BANNER,
        "make sweep STUDY=modules",
        "1x1",
        "20,000/400/400",
        "Tuning: none",
        "Seeds: 1 2 3",
        "2.13.0",
        "Device: cpu (Some CPU @ 2.0GHz), threads per run: 1",
    ):
        assert needed in text
    assert SIGNATURE.replace("|", "\\|") in text
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1


def test_csv_keeps_full_precision_and_is_rewritten_identically(modules: Path, tmp_path: Path) -> None:
    study = load(modules)
    files = tables.write(study, tmp_path)
    assert {file.name for file in files} == {"table.md", "table.tex", "table.csv", "effects.csv", "power.csv"}
    with (tmp_path / "table.csv").open() as file:
        read = [float(row["bleu"]) for row in csv.DictReader(file)]
    assert read == results.ablation(study)["bleu"].tolist()
    before = {file: file.read_bytes() for file in files}
    tables.write(load(modules), tmp_path)
    assert before == {file: file.read_bytes() for file in files}


def test_a_result_row_carries_where_it_comes_from(modules: Path, tmp_path: Path) -> None:
    tables.write(load(modules), tmp_path)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for row in rows:
        assert row["command"] == "make sweep STUDY=modules"
        assert row["signature"].startswith("nrefs:1|case:mixed")
        assert "20,000/400/400 train/valid/test pairs, 3 dropped (too long)" in row["data"]
        assert (row["tokenizer"], row["candidates"], row["decoding_steps"]) == ("words", "1x1", "20")
        assert (row["training"], row["tuning"]) == ("700 updates of 1024 tokens", "none, in any arm")
        assert (row["seeds"], row["commit"]) == ("1 2 3", "abcdef0")
        assert float(row["brevity_penalty"]) == pytest.approx(0.97)
        assert float(row["bleu_low"]) < float(row["bleu"]) < float(row["bleu_high"])


def test_the_terminal_table_fits_80_columns(modules: Path) -> None:
    out = StringIO()
    tables.show(load(modules), Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "[95%" in out.getvalue()
    assert BANNER in out.getvalue()


def test_small_scores_have_the_digits_they_need(tmp_path: Path) -> None:
    """A metric of one's own, from 0 to 1."""
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2, 3))
    for scores in path.glob("*/scores.json"):
        edit(scores, own=json.loads(scores.read_text())["bleu"] / 100)
    edit(path / "study.json", metric="own")
    study = load(path)
    mean = results.ablation(study).set_index("arm").loc["F1", "own"]
    assert tables.grids(study)[0][0].rows[0][2].startswith(f"{mean:.3f} [0.")


def test_the_terminal_shows_the_arms_the_main_effects_and_nothing_else(modules: Path) -> None:
    out = StringIO()
    tables.show(load(modules), Console(file=out, width=200))
    text = out.getvalue()
    assert text.startswith(BANNER) and "anchor loss" in text and "anchor × norm" not in text
    assert "Holm's correction" not in text and "Command:" not in text and len(text.splitlines()) < 22


def test_of_two_seeds_both_stand_in_place_of_an_interval(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "modules", seeds=(1, 2)))
    shown, lines, arms, tested = tables.grids(study)
    assert "BLEU (both seeds)" in shown[0].heads and "BLEU (both seeds)" in shown[1].heads
    one, two = study.values("bleu", "anchor+norm+F4").values()
    assert shown[0].rows[0][5] == f"{(one + two) / 2:.1f} ({one:.1f}; {two:.1f})"
    assert any("Of two seeds both values stand in place of an interval" in line for line in lines)
    assert arms["bleu_low"].notna().all() and tested["p"].notna().all(), "the CSV files have the t interval"
