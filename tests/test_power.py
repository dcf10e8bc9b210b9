"""Power of the paired t test and the power note, against statsmodels, simulation and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
from fake_runs import edit, write_study
from scipy import stats as reference
from statsmodels.stats.power import TTestPower

from analysis import power_note as note
from analysis import tables
from analysis.load import load
from analysis.power import detectable, power, seeds_to_separate, spread_factors
from analysis.power_note import main_comparisons, power_curve, power_note


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("effect", [0.0, 0.3, 1.0, 2.5])
def test_power_agrees_with_statsmodels(n: int, effect: float) -> None:
    for level in (0.95, 1 - 0.05 / 7):
        expected = TTestPower().power(effect, n, 1 - level)
        if math.isfinite(expected):  # its noncentral t gives NaN in the far tail
            assert power(n, effect, level) == pytest.approx(expected, abs=1e-5)
    assert power(n, -effect) == pytest.approx(power(n, effect))


def test_power_without_an_effect_is_the_error_rate_and_with_a_huge_one_sure() -> None:
    assert power(3, 0.0, 0.95) == pytest.approx(0.05, abs=1e-6)
    assert power(5, 1000.0) == pytest.approx(1.0, abs=1e-6)
    assert math.isnan(power(1, 2.0))
    assert math.isnan(detectable(1))


def test_power_is_what_a_simulation_finds() -> None:
    x = np.random.default_rng(1).normal(1.5, 1, (20_000, 4))
    found = (reference.ttest_1samp(x, 0, axis=1).pvalue < 0.05).mean()
    assert power(4, 1.5) == pytest.approx(found, abs=0.012)


@pytest.mark.parametrize("n", [2, 3, 4, 10])
def test_detectable_is_found_with_the_wanted_probability(n: int) -> None:
    assert power(n, detectable(n)) == pytest.approx(0.8, abs=1e-4)
    assert detectable(n, level=0.99) > detectable(n) > detectable(n + 1)


@pytest.mark.parametrize("effect", [0.6, 1.0, 2.0, 4.0])
def test_seeds_to_separate_agrees_with_statsmodels(effect: float) -> None:
    x = np.array([-1.0, 0.0, 1.0]) + effect
    exact = math.ceil(TTestPower().solve_power(effect_size=effect, alpha=0.05, power=0.8))
    assert seeds_to_separate(x) == exact


def test_seeds_to_separate_has_limits() -> None:
    assert seeds_to_separate([1.0, -1.0]) is None
    assert seeds_to_separate([1.001, -1.0], limit=50) is None
    assert seeds_to_separate([5.0]) is None
    assert seeds_to_separate([2.0, 2.0]) is None  # a spread of 0 is unknown, not small
    strict, plain = seeds_to_separate([5.0, 8.0, 2.0], level=0.99), seeds_to_separate([5.0, 8.0, 2.0])
    assert strict is not None
    assert plain is not None
    assert strict > plain


def test_spread_factors_agree_with_the_chi_square() -> None:
    low, high = spread_factors(3)
    assert low == pytest.approx(math.sqrt(2 / reference.chi2.ppf(0.975, 2)))
    assert high == pytest.approx(math.sqrt(2 / reference.chi2.ppf(0.025, 2)))


def test_the_note_by_hand(tmp_path: Path) -> None:
    """Differences to the control of 10 + (-2, 0, 2): a standard deviation of 2 in each of the five."""
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2, 3))
    for run in path.glob("*/run.json"):
        seed, control = int(run.parent.name.split("-s")[1][0]), run.parent.name.startswith("F4-")
        edit(run.parent / "scores.json", bleu=70.0 if control else 60.0 + 2 * (seed - 2))
    study = load(path)
    smallest = 2 * detectable(3, 1 - 0.05 / 5)
    note = power_note(study)
    assert "with 3 seeds a true difference is found with a probability of 80%" in note[0]
    assert "Bonferroni for 5" in note[0]
    assert note[0].endswith(f"in BLEU: {smallest:.1f}.")
    assert f"with 5 seeds {2 * detectable(5, 1 - 0.05 / 5):.1f}" in note[1]
    assert "0.52 to 6.3 times what 3 seeds show (95% interval" in note[1]
    curve = power_curve(study)
    row = curve[(curve["comparison"] == "F1 − F4") & (curve["seeds"] == 5)].iloc[0]
    assert (row["seen"], row["sd"], row["seeds_here"]) == pytest.approx((-10, 2, 3))
    assert row["power"] == pytest.approx(power(5, 5.0, 1 - 0.05 / 5))


def test_a_factorial_asks_about_its_main_effects(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "modules", seeds=(1, 2)))
    assert list(main_comparisons(study)["name"]) == ["anchor loss", "embedding norm", "noise factor 4 vs 1"]
    assert "noise factor 4 vs 1 " in power_note(study)[0]
    assert "\n".join(power_note(study)) in "\n".join(tables.tabulate(study).lines)


def test_without_spread_the_power_is_unknown(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "token_loss", seeds=(1,)))
    assert power_note(study) == ["Power: unknown, a spread over seeds needs two seeds at least."]
    assert power_curve(study).empty


def rescored(path: Path, bleu: dict[str, list[float]]) -> Path:
    """The same study with these scores by arm, in the order of the seeds; a run without one has failed."""
    for run in sorted(path.glob("*/run.json")):
        arm, seed = run.parent.name.rsplit("-", 2)[:2]
        values = bleu.get(arm, bleu[""])
        if int(seed[1:]) > len(values):
            edit(run, state="failed", reason="killed")
        else:
            edit(run.parent / "scores.json", bleu=values[int(seed[1:]) - 1])
    return path


def test_the_note_says_how_many_seeds_each_comparison_has(tmp_path: Path) -> None:
    """F1 has two of the four seeds: its spread is known worse than the others', and the note speaks of the worst."""
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2, 3, 4))
    scores = {"F4": [70.0, 70, 70, 70], "F1": [50.0, 52], "": [60.0, 61, 62, 63]}
    note = power_note(load(rescored(path, scores)))
    assert "with 2 to 4 seeds a true difference" in note[0]
    low, high = spread_factors(2)
    assert f"{low:.2f} to {high:.1f} times what 2 seeds show" in note[1]


def test_differences_without_a_spread_are_named_as_such(tmp_path: Path) -> None:
    """Equal but for rounding: neither a power of 1 nor a lack of seeds."""
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2, 3))
    control, same = [72.3, 52.3, 2.3], [70.1, 50.1, 0.1]
    study = load(rescored(path, {"F4": control, "": same}))
    assert set(main_comparisons(study)["sd"]) == {0.0}
    assert power_note(study) == ["Power: unknown, all seeds gave the same differences: how they vary is not known."]
    study = load(rescored(path, {"F4": control, "F1": [60.0, 50.0, 5.0], "": same}))
    assert set(power_curve(study)["comparison"]) == {"F1 − F4"}
    assert "(4 more without a spread over seeds: unknown)" in power_note(study)[0]
    lines = "\n".join(tables.tabulate(study).lines)
    assert "all gave the same difference" in lines and "nan" not in lines
    assert tables.grids(study)[0][1].rows[1][1] == "−2.2 (n/a)"


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.04"), (0.1, "0.1"), (19.14, "19.1"), (250.4, "250")])
def test_a_size_is_never_written_as_nothing(value: float, text: str) -> None:
    assert note._size(value) == text


def test_beyond_twenty_seeds_no_larger_number_is_looked_at(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=tuple(range(1, 22)))
    assert power_note(load(path))[1].startswith("An orientation: ")
