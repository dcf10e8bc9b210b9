"""What a search is asked for: ranges, shared points, budgets, wrong options; and one real search from end to end."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import write_search
from hypothesis import given
from hypothesis import strategies as st

from ablations import presets, studies
from ablations.ranges import Levels, Range, absolute, default_of, options_set, within, without
from core import methods
from core.config import flat, with_values
from core.errors import UserError
from sweeps.tuning import prepare, report, search_record
from sweeps.tuning.compare import TunedStudy
from sweeps.tuning.options import SearchOptions, budget_of
from sweeps.tuning.points import Space, described, shared_points, spaces_for, text

ROOT = Path(__file__).parents[1]
TINY = presets.get("tiny").config
CONFIG = flat(TINY)


def space_of(study: studies.Study, **options: Any) -> Space:
    """The space that all arms of a study share."""
    space, *others = spaces_for(study, with_values(TINY, options)).values()
    assert all(other == space for other in others)
    return space


# Ranges


@given(
    st.floats(0, 1), st.sampled_from([Range(1e-4, 1e-2, log=True), Range(0, 0.3), Range(2, 90, log=True, whole=True)])
)
def test_points_lie_within_their_range_in_order(share: float, dimension: Range) -> None:
    low, here, high = dimension.at(0), dimension.at(share), dimension.at(1)
    assert (low, high) == (pytest.approx(dimension.low), pytest.approx(dimension.high))
    assert dimension.low <= here <= dimension.high
    assert not dimension.whole or here == int(here)


def test_middle_of_a_logarithmic_range_is_the_geometric_mean() -> None:
    assert Range(1e-4, 1e-2, log=True).at(0.5) == pytest.approx(1e-3)
    assert Range(0.0, 0.3).at(0.5) == pytest.approx(0.15)
    assert [Levels((5, 10, 20, 50)).at(u) for u in (0, 0.3, 0.5, 1)] == [5, 10, 20, 50]


def test_ranges_are_around_the_default_and_hold_it() -> None:
    assert Range(0.25, 4, log=True, relative=True).around(4e-3) == Range(1e-3, 1.6e-2, log=True)
    assert Range(0.25, 4, whole=True, relative=True).around(4) == Range(1, 16, whole=True)
    assert Range(0.0, 0.3).around(0.5) == Range(0.0, 0.5), "wide enough for the default"
    with pytest.raises(UserError, match=r"option decoding_noise_factor: .* above 0"):
        absolute({"decoding_noise_factor": Range(0.25, 4.0, log=True)}, {"decoding_noise_factor": 0.0})


def test_what_a_study_varies_itself_is_not_tuned() -> None:
    steps = space_of(studies.get("steps"))
    assert "steps" not in steps.dimensions and set(steps.training.dimensions) == {"lr", "warmup", "dropout"}
    assert set(steps.decoding.dimensions) == {"decoding_noise_factor"}
    assert options_set("steps", Levels((5, 10))) == {"decoding_steps", "early_stop"}
    only = replace(studies.get("modules"), nuisance={"decoding_noise_factor": Range(0.25, 4, log=True)})
    assert set(space_of(only).training.dimensions) == {"decoding_noise_factor"}, "it takes the first place"
    with pytest.raises(UserError, match="nothing is left to tune"):
        space_of(replace(studies.get("steps"), nuisance={"steps": Levels((5, 10))}))


def test_the_default_must_be_a_level_and_levels_possible() -> None:
    assert default_of("steps", Levels((5, 10, 20)), CONFIG) == 20
    with pytest.raises(UserError, match=r"option steps.*levels that are searched \(5, 10\)"):
        default_of("steps", Levels((5, 10)), CONFIG)
    few = space_of(studies.get("modules"), diffusion_steps=20)
    assert described(few.dimensions["steps"]) == {"levels": [5, 10, 20]}
    assert str(few.dimensions["steps"]) == "5, 10 or 20" and str(Levels((5,))) == "5"
    assert (
        str(Range(0.001, 16.0, log=True)) == "0.001 to 16, logarithmic"
        and str(Range(1, 4, whole=True)) == "1 to 4, whole"
    )
    assert without({"lr": Range(0, 1)}, ["lr"]) == {}


def test_shared_points_are_the_same_shares_whatever_the_default() -> None:
    """Twice the default learning rate: twice each point's, the rest as before."""
    one, two = (space_of(studies.get("modules"), lr=lr).training.shared for lr in (1e-3, 2e-3))
    for a, b in zip(one, two, strict=True):
        assert b["lr"] == pytest.approx(2 * a["lr"]) and b["dropout"] == a["dropout"]
    assert shared_points({}, [], 4, 0) == [] and len(one) == 4
    assert text({"lr": 0.0041234, "steps": 20}) == "lr 0.00412, steps 20"


def test_an_arm_is_not_searched_in_options_that_it_does_not_have() -> None:
    """A sampler has no noise factor, and no K, where text is written from left to right."""
    spaces = spaces_for(studies.get("systems"), TINY)
    ours, other, usual = spaces["difformer"], spaces["autoregressive"], space_of(studies.get("modules"))
    for ours_, usual_ in ((ours.training, usual.training), (ours.decoding, usual.decoding)):
        assert {name: ours_.dimensions[name] for name in usual_.dimensions} == usual_.dimensions
        points = [{name: point[name] for name in usual_.dimensions} for point in ours_.shared]
        assert points == usual_.shared, "as among arms of one method"
    assert list(other.dimensions) == ["lr", "warmup", "dropout", "label_smoothing", "beam"]
    assert list(other.decoding.dimensions) == ["beam"]
    for name in other.training.dimensions:
        mine, others = ([point[name] for point in each.training.shared] for each in (other, ours))
        assert mine == others, "where it has the options, its points are those of the others"


def test_every_system_has_a_space_of_its_own() -> None:
    """K in the form in which the method has it, and the choices that its released versions leave open."""
    spaces = {arm: list(space.dimensions) for arm, space in spaces_for(studies.get("systems"), TINY).items()}
    assert spaces.keys() == {arm.name for arm in studies.get("systems").arms}
    assert {"steps", "decoding_noise_factor"} < set(spaces["difformer"]) and "decoding_steps" not in spaces["difformer"]
    assert {"decoding_steps", "restart_positions"} < set(spaces["diffuseq"]) and "steps" not in spaces["diffuseq"]
    for arm, own in (("cmlm", "form"), ("rdm", "reweighting"), ("mdlm", "weighting"), ("dinoiser", "clipping")):
        assert own in spaces[arm] and [arm for arm in spaces if own in spaces[arm]] == [arm]


def test_arms_at_their_own_best_keep_their_released_recipe() -> None:
    """They are compared with the default, which is the recipe."""
    asked = SearchOptions(study="systems", preset="as_released", only=(("difformer", "rdm"),))
    study = prepare.prepare(asked, "sweeps.search")[1].study
    tuned = TunedStudy.of(study, {"rdm": {"beta2": 0.9}})
    (arm,), (default,) = tuned.arms, (each for each in study.arms if each.name == "rdm")
    assert arm.values == {**default.values, "beta2": 0.9} and arm.values["updates"] == 300_000
    assert tuned.varies == study.varies == ["method"]


def test_what_a_released_recipe_sets_is_tuned_around_it() -> None:
    """As what a preset sets is: the study varies the method alone."""
    asked = SearchOptions(study="systems", preset="as_released", only=(("difformer", "rdm"),))
    recipe = prepare.prepare(asked, "sweeps.search")[1]
    released = spaces_for(recipe.study, recipe.config)
    usual = spaces_for(studies.get("systems").of_arms(released.keys()), TINY)
    assert {arm: set(space.dimensions) for arm, space in released.items()} == {
        arm: set(space.dimensions) for arm, space in usual.items()
    }
    assert released["rdm"].defaults["lr"] == methods.released("rdm")["lr"]


def test_a_number_of_steps_that_is_no_level_is_searched_among_them() -> None:
    own = {"decoding_steps": 7}
    assert absolute(within({"decoding_steps": Levels((5, 10))}, own), own) == {"decoding_steps": Levels((5, 7, 10))}
    assert absolute({"form": Levels(("a", "b"))}, {"form": "c"}) == {"form": Levels(("a", "b"))}


def test_a_range_of_an_option_that_is_off_is_not_searched() -> None:
    """A method of one's own may have it without a number: there is nothing to look around."""
    dimensions = {"lr": Range(0.25, 4.0, log=True, relative=True), "dropout": Range(0.0, 0.3)}
    assert list(absolute(within(dimensions, own := {"lr": 0.1, "dropout": None}), own)) == ["lr"]
    assert list(within(dimensions, own | {"dropout": 0.0})) == ["lr", "dropout"]


def test_points_do_not_move_where_an_arm_lacks_a_dimension_before() -> None:
    dimensions = {"lr": Range(1e-4, 1e-2, log=True), "warmup": Range(2, 90), "dropout": Range(0, 0.3)}
    part = {"lr": dimensions["lr"], "dropout": dimensions["dropout"]}
    whole, own = (shared_points(each, list(dimensions), 4, 0) for each in (dimensions, part))
    assert own == [{name: point[name] for name in part} for point in whole]
    assert shared_points(part, list(part), 4, 0) != own


def test_a_search_over_methods_says_what_each_arm_is_tuned_in(capsys: pytest.CaptureFixture[str]) -> None:
    sweep, asked = prepare.prepare(SearchOptions(study="systems", preset="smoke"), "sweeps.search")
    report.show_plan(asked, sweep)
    lines = capsys.readouterr().out.splitlines()
    assert "label_smoothing 0.1 or 0, " in next(line for line in lines if line.startswith("default: "))
    few = prepare.prepare(SearchOptions(study="systems", preset="smoke", only=(("cmlm", "rdm"),)), "sweeps.search")[1]
    assert "beam" not in report.heading(few), "an option of arms that are not searched"
    heads = [i for i, line in enumerate(lines) if line.startswith("  arm ")]
    assert (lines[heads[0]].split()[1], lines[heads[1]].split()[1]) == ("difformer", "autoregressive")
    names = [line.split(":")[0].strip() for line in lines]
    assert {"steps", "decoding_noise_factor"} < set(names[: heads[0]]) and names[heads[1] - 1] == "beam"
    record = search_record.spaces(asked)
    assert record["own"]["autoregressive"]["trained"] == ["lr", "warmup", "dropout", "label_smoothing"]
    assert record["trained"][:3] == ["lr", "warmup", "dropout"]
    for name in ("dimensions", "defaults"):
        assert record[name].keys() == {key for own in record["own"].values() for key in own[name]}


def test_the_points_that_are_shown_are_those_of_the_arms_that_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    asked = SearchOptions(study="systems", preset="smoke", only=(("cmlm", "mdlm"),))
    sweep, search = prepare.prepare(asked, "sweeps.search")
    report.show_plan(search, sweep)
    shown = capsys.readouterr().out.split("points that all arms share:\n")[1].splitlines()[:-1]
    own = [list(search.spaces[arm].dimensions) for arm in ("cmlm", "mdlm")]
    assert len(shown) == 8 and own[0] != own[1]
    names = {part.split()[0] for line in shown for part in line.split(", ")}
    assert names == {*own[0], *own[1]}
    first = search.spaces["mdlm"].training.shared[0]
    assert text({name: first[name] for name in ("lr", "warmup", "dropout")}) in shown[0]


# Options


def prepared(**options: Any) -> Any:
    """The search that these options ask for."""
    return prepare.prepare(SearchOptions(preset="smoke", **options), "sweeps.search")[1]


@pytest.mark.parametrize(("given_", "seconds"), [("30m", 1800), ("1.5h", 5400), ("90s", 90), ("2d", 172800)])
def test_budgets(given_: str, seconds: float) -> None:
    assert budget_of(SearchOptions(budget=given_)) == seconds


def test_both_comparisons_name_the_command_that_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["search.py", "--preset", "smoke", "--trials", "8"])
    sweep, tuned = prepare.prepare(SearchOptions(preset="smoke", trials=8), "sweeps.search")
    assert sweep.facts["command"] == tuned.facts["command"] == "python -m sweeps.search --preset smoke --trials 8"


def test_limits_and_pruners_by_default() -> None:
    assert (prepared().budget, prepared().trials, prepared().pruner) == (1800, None, "median")
    assert (prepared(trials=3).budget, prepared(trials=3).trials) == (None, 3)
    both = prepared(objectives="score,time")
    assert both.objectives == ("score", "time") and both.pruner == "none"
    assert prepared().seeds == (101, 102) and prepared().title == "modules-smoke-search"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "30"}, "--budget 30: give a number and"),
        ({"budget": "-3m"}, "--budget -3m: must be above 0"),
        ({"trials": 0}, "--trials 0: must be at least 1"),
        ({"trial_seeds": 0}, "--trial-seeds 0"),
        ({"decodings": -1}, "--decodings -1"),
        ({"search_seed": -1}, "--search-seed -1: must lie between 0 and"),
        ({"search_seed": 2**32}, "--search-seed 4294967296: must lie between 0 and"),
        ({"study": "mine.yaml"}, "--study mine.yaml: a search tunes a study by its name"),
        ({"pruner": "wilcoxon"}, "--trial-seeds 5 or more"),
        ({"objectives": "time"}, "--objectives time: use score"),
        ({"objectives": "score,time", "pruner": "median"}, "two objectives cannot be pruned"),
        ({"seeds": 101}, "--seeds 101: seeds from 101 on belong to the search"),
        ({"only": (("anchor+norm+F5",),)}, "Did you mean 'anchor"),
        ({"study": "module"}, "Did you mean 'modules'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        prepared(**options)
    assert message in str(error.value)


def test_the_name_changes_with_what_trials_depend_on_and_with_nothing_else() -> None:
    name = prepared().name
    assert name == prepared(trials=5, workers=3, only=(("anchor+norm+F4",),), compare=False).name
    others: list[dict[str, Any]] = [
        {"pruner": "none"},
        {"trial_seeds": 3},
        {"decodings": 0},
        {"search_seed": 1},
        {"overrides": ("updates=9",)},
    ]
    assert len({name, *(prepared(**other).name for other in others)}) == 6


@pytest.mark.slow
def test_at_its_end_it_says_what_was_written_and_what_comes_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_search(tmp_path)
    options = SearchOptions(runs=tmp_path, figures=tmp_path / "figures", compare=False)
    sweep, asked = prepare.prepare(options, "sweeps.search")
    assert asked.folder == folder
    report.analyse(asked, sweep, options.figures, options.compare)
    *lines, following = capfd.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(f"wrote {tmp_path}/figures/modules-search: ")]) == 1
    assert following.startswith(f"next: make report FROM={folder} (")


# From end to end


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_search(tmp_path: Path) -> None:
    """Two arms of the smoke preset: searched on the validation set, then compared on the test set."""
    arms = ("anchor+norm+F4", "rounding+norm+F1")
    line = [sys.executable, "-m", "sweeps.search", "--preset", "smoke", "--trials", "2", "--trial-seeds", "1"]
    line += ["--decodings", "1", "--seeds", "1", "--workers", "1", "--objectives", "score,time", "--only", *arms]
    line += ["--runs", str(tmp_path / "runs"), "--figures", str(tmp_path / "figures")]
    environment = os.environ | {"WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "runs" / "modules-smoke-search"
    content = json.loads((folder / "search.json").read_text())
    assert content["finished"] and content["rounds"] == 2 and set(content["best"]) == set(arms)
    updates = presets.get("smoke").config.training.updates
    for arm in arms:
        assert content["spent"][arm]["updates"] == 2 * updates, "decodings train nothing"
        assert content["pareto"][arm]
    runs = {run: t for t in content["trials"] for run in t["runs"]}
    for run, trial in runs.items():
        record, scores = (json.loads((folder / run / f"{name}.json").read_text()) for name in ("run", "scores"))
        assert scores["split"] == "valid" and scores["sentences"] == 16
        assert scores["val/bleu"] == trial["objectives"][0] and "bleu" not in scores
        assert ("trained_by" in record) == (trial["part"] == "decoding")
        assert not (folder / run / "samples.jsonl").exists() and not (folder / run / "probes.npz").exists()
    tuned = tmp_path / "runs" / "modules-smoke-tuned"
    for path in tuned.glob("*/run.json"):
        record = json.loads(path.read_text())
        assert record["seed"] == 1 and record["tuning"]["trials"] == 2 and record["tuning"]["search"] == folder.name
        for option, value in content["best"][record["arm"]]["options"].items():
            assert record["config"][option] == value
    assert (
        len(list(tuned.glob("*/scores.json")))
        == len(list((tmp_path / "runs/modules-smoke").glob("*/scores.json")))
        == 2
    )
    assert "All arms at the default, and each arm at its own best" in done.stdout
    wrote = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("wrote ")]
    assert wrote == [f"wrote {tmp_path}/figures/modules-smoke{which}" for which in ("", "-tuned", "-search")]
    assert (tmp_path / "figures" / folder.name / "tuned.pdf").exists()
