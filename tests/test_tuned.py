"""The table of two columns and its figures, from a search and two studies on disk."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from fake_runs import edit
from fake_search import DEFAULTS, write_search

from analysis.figures import drawing, importance
from analysis.figures import tuned as figure
from analysis.figures.common import Missing
from analysis.figures.write_search import show_and_write
from analysis.load import load
from analysis.searches import Search, load_search
from analysis.stats import mean_interval_t, paired
from analysis.style_sheet import styled
from analysis.tuned import tables as text
from analysis.tuned.footer import search_footer
from core.errors import UserError

ARMS = 8


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of the eight arms; the arms with F = 1 gain about 9 by tuning, the others nothing."""
    return write_search(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def found(path: Path) -> Search:
    """The same, read."""
    read = load_search(path)
    assert read is not None
    return read


def test_both_columns_are_the_studies_own_and_differences_are_paired(path: Path, found: Search) -> None:
    default, best = load(path.parent / "modules"), load(path.parent / "modules-tuned")
    for _, row in found.arms.iterrows():
        before, after = (study.values("bleu", row["arm"]) for study in (default, best))
        expected = mean_interval_t(paired(after, before))
        assert row["default"] == pytest.approx(np.mean(list(before.values())))
        assert row["best"] == pytest.approx(np.mean(list(after.values())))
        bounds = (expected.estimate, expected.low)
        assert (row["difference"], row["difference_low"]) == pytest.approx(bounds, nan_ok=True)
        assert expected.defined == row["arm"].endswith("F1"), "the others have the same scores at either"
        assert row["verdict"] == ("helps" if row["arm"].endswith("F1") else "undecided")


def test_the_grid_names_options_and_what_was_spent(found: Search) -> None:
    grid = text.arms_grid(found)
    assert len(grid.rows) == ARMS and all(len(row) == len(grid.heads) for row in grid.rows)
    spent = {row[grid.heads.index("trials")] for row in grid.rows}
    assert spent == {"4 + 8"}, "every arm the same"
    best = found.search["best"]["anchor+norm+F4"]["params"]
    assert f"learning rate {best['lr']:.3g}" in grid.rows[0][grid.heads.index("tuned options")]
    found.search["best"]["anchor+norm+F4"]["params"] = DEFAULTS
    assert text.options_text(found, "anchor+norm+F4") == "the default"
    found.search["best"]["anchor+norm+F4"]["params"] = best


def test_effects_of_the_factorial_stand_side_by_side(found: Search) -> None:
    grid = text.effects_grid(found)
    assert grid is not None and len(grid.rows) == 7
    frame = found.effects.set_index("effect")
    shift = frame["estimate_best"] - frame["estimate_default"]
    gain = found.arms[found.arms["arm"].str.endswith("F1")]["difference"].mean()
    assert shift["noise_factor"] == pytest.approx(-gain), "what the arms without it gain, the factor loses"
    assert shift["anchor_loss"] == pytest.approx(0, abs=0.6)


def test_a_seed_that_one_column_lacks_counts_in_neither(tmp_path: Path) -> None:
    """Half the studies' seeds gone in two arms of one column: no verdict may change for that alone."""
    path = write_search(tmp_path)
    default, best = (tmp_path / name for name in ("modules", "modules-tuned"))
    for scores in default.glob("*/scores.json"):  # both columns alike: tuning changed nothing
        record = json.loads((scores.parent / "run.json").read_text())
        twin = next(best.glob(f"{record['arm']}-s{record['seed']}-*/scores.json"))
        edit(twin, bleu=json.loads(scores.read_text())["bleu"])
    edit(next(best.glob("rounding+nonorm+F1-s3-*")) / "run.json", state="pending")
    found = load_search(path)
    assert found is not None
    row = found.arms.set_index("arm").loc["rounding+nonorm+F1"]
    kept = [load(default).values("bleu", "rounding+nonorm+F1")[seed] for seed in (1, 2)]
    assert row["default"] == row["best"] == pytest.approx(np.mean(kept))
    assert (row["default_n"], row["best_n"], row["left_out"]) == (2, 2, "3")
    assert list(found.effects["estimate_default"]) == list(found.effects["estimate_best"])
    assert set(found.effects["seeds"]) == {"1 2"} and set(found.effects["n_seeds_default"]) == {2}
    told = "\n".join(search_footer(found))
    assert "no result of them: rounding · nonorm · F1: 3." in told
    assert "Verdicts that differ: none" in told and "changed: none is shown" in told


def test_the_change_of_an_effect_is_tested_itself(path: Path, found: Search) -> None:
    """Per seed: contrast at own best minus contrast at the default."""
    seeds = []
    for study in (load(path.parent / "modules-tuned"), load(path.parent / "modules")):
        on, off = ([study.values("bleu", a.name) for a in study.arms if a.name.endswith(f)] for f in ("F4", "F1"))
        seeds.append([np.mean([v[s] for v in on]) - np.mean([v[s] for v in off]) for s in (1, 2, 3)])
    expected = mean_interval_t(np.array(seeds[0]) - np.array(seeds[1]))
    row = found.effects.set_index("effect").loc["noise_factor"]
    assert (row["estimate_change"], row["estimate_low_change"]) == pytest.approx(
        (expected.estimate, expected.low), nan_ok=True
    )
    grid = text.effects_grid(found)
    assert grid is not None and grid.rows[2][-1] == "falls"
    assert any("noise factor 4 vs 1 falls" in line for line in search_footer(found))


def test_columns_that_differ_in_more_than_what_was_tuned_are_named(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    for which, updates in (("modules", 700), ("modules-tuned", 900)):
        for run in (tmp_path / which).glob("*/run.json"):
            config = json.loads(run.read_text())["config"]
            edit(run, config=config | {"updates": updates, "lr": updates / 1e5})
    found = load_search(path)
    assert found is not None
    assert "Note: the columns differ in more than what was tuned: updates." in search_footer(found)


def test_what_importance_rests_on_is_said(found: Search) -> None:
    """Three points an arm are trained to the end (one of four is pruned)."""
    told = "\n".join(search_footer(found))
    assert "Options of training were seen at only 3 points of an arm" in told
    assert "than the default was best in" in told and "the same number in every arm" in told


@pytest.mark.parametrize("options", [1, 8, 9, 17])
def test_shares_stand_apart_however_many_options_there_are(options: int) -> None:
    names = [f"option_{number}" for number in range(options)]
    rows = [{"label": arm, "option": name, "share": 0.33} for arm in ("difformer", "autoregressive") for name in names]
    asked = SimpleNamespace(importance=pd.DataFrame(rows), search={"dimensions": dict.fromkeys(names)}, banner="")
    with styled():
        made, _ = importance.figure(cast(Search, asked))
        made.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in made.axes[0].texts), key=lambda box: (box.y0, box.x0))
    assert len(boxes) == 2 * options
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes) if left.y0 == right.y0)


def test_lines_say_how_it_was_done_and_what_regressed(found: Search) -> None:
    told = "\n".join(search_footer(found))
    assert "No interval although there are seeds: anchor · norm · F4, anchor · nonorm · F4, rounding" in told
    for wanted in ("search seeds 101, 102", "same budget", "30 min", "4 rounds", "fANOVA", "Mean gain of tuning"):
        assert wanted in told
    assert search_footer(found)[0] == found.search["banner"]


@pytest.mark.slow
def test_files_are_written_and_the_same_twice(path: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert show_and_write(path, tmp_path / folder, quiet=True)
    first, second = (sorted((tmp_path / folder / path.name).iterdir()) for folder in ("a", "b"))
    assert [p.name for p in first] == [p.name for p in second]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    names = {p.name for p in first}
    assert {"tuned.md", "tuned.tex", "tuned.pdf", "tuned.csv", "importance.csv", "pareto.png", "arms.csv"} <= names
    shares = pd.read_csv(tmp_path / "a" / path.name / "importance.csv")
    assert set(shares["arm"]) == {arm["name"] for arm in found_arms(path)} | {"all"}
    assert not [p.name for p in first if p.suffix == ".svg" and "<image" in p.read_text()], "pictures are no pixels"
    drawn = pd.read_csv(tmp_path / "a" / path.name / "tuned.csv")
    assert len(drawn[drawn["kind"] == "arm"]) == 2 * ARMS and set(drawn["when"]) == {"default", "best"}


def found_arms(path: Path) -> list[dict[str, str]]:
    """The arms of a search on disk."""
    return list(json.loads((path / "search.json").read_text())["arms"])


def test_arms_with_spaces_of_their_own(tmp_path: Path) -> None:
    """The other method has no steps and another default: neither counts as something that its best point changed."""
    path = write_search(tmp_path, "token_loss")
    search = json.loads((path / "search.json").read_text())
    of_all = {key: search[key] for key in ("dimensions", "trained", "defaults")}
    own = {"dimensions": {"lr": search["dimensions"]["lr"]}, "trained": ["lr"], "defaults": {"lr": 0.007}}
    best = search["best"] | {"none": search["best"]["none"] | {"params": {"lr": 0.007}}}
    trials = [t | {"params": {"lr": 0.007}} if t["arm"] == "none" else t for t in search["trials"]]
    spaces = {arm["name"]: own if arm["name"] == "none" else of_all for arm in search["arms"]}
    edit(path / "search.json", own=spaces, best=best, trials=trials)
    found = load_search(path)
    assert found and text.options_text(found, "none") == "the default"
    told = "\n".join(search_footer(found))
    assert "; none: learning rate; " in told and "anchor: learning rate, warm-up, dropout, K, sampler's F; " in told
    assert "best in 3 of 4 arms" in told or "best in 2 of 4 arms" in told
    assert show_and_write(path, tmp_path / "figures", ["svg"], True, {})
    front = next(grid for grid in text.grids(found) if grid.title.startswith("Pareto"))
    assert {row[4] for row in front.rows if row[0] == "none"} == {"n/a"}


def test_the_front_is_not_beaten(found: Search) -> None:
    for _, own in found.trials.groupby("arm"):
        front = own[own["front"]].sort_values("decode_ms")
        assert len(front) and (front["value"].diff().dropna() > 0).all(), "slower only where it is better"


def test_without_comparison_it_says_so(tmp_path: Path) -> None:
    path = write_search(tmp_path, pareto=False)
    (tmp_path / "modules-tuned").rename(tmp_path / "elsewhere")
    edit(path / "search.json", finished=False, importance=None)
    found = load_search(path)
    assert found is not None and found.best is None and found.importance.empty
    assert text.arms_grid(found).rows[0][2] == "n/a" and text.effects_grid(found) is None
    assert any("modules-tuned" in line for line in search_footer(found))
    assert any("not finished" in line for line in search_footer(found))
    with pytest.raises(Missing, match="not run"):
        figure.figure(found)
    written, skipped = drawing.redraw_search(found, tmp_path / "out")
    assert not written and len(skipped) == 3


@pytest.mark.parametrize("arms", [{"rounding+norm+F1"}, None])
def test_a_search_in_its_first_round_is_read(tmp_path: Path, arms: set[str] | None) -> None:
    """Stopped, or under way, when these arms (None: all) have no complete trial yet."""
    path = write_search(tmp_path)
    search = json.loads((path / "search.json").read_text())
    best = {arm: None if arms is None or arm in arms else point for arm, point in search["best"].items()}
    edit(path / "search.json", best=best, importance=None, pareto=None, finished=False, rounds=1 if arms else 0)
    found = load_search(path)
    assert found is not None
    told = [line for line in search_footer(found) if "than the default was best in" in line]
    assert [line.partition(" of ")[2][:6] for line in told] == (["7 arms"] if arms else [])
    rows = {row[0]: row[6] for row in text.arms_grid(found).rows}
    assert list(rows.values()).count("no complete trial") == len(arms or best)
    assert show_and_write(path, tmp_path / "figures", ["svg"], True, {})


def test_a_folder_without_a_search_is_none_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert load_search(tmp_path) is None and not show_and_write(tmp_path, tmp_path)
    (tmp_path / "search.json").write_text("{")
    with pytest.raises(UserError, match=r"search.json is unreadable"):
        load_search(tmp_path)
