"""The statistics against hand-computed numbers, scipy and statsmodels."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from bootstrap import paired_bootstrap
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multitest import multipletests

from analysis import stats

finite = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 7, 14, 29, 100])
def test_student_agrees_with_scipy(df: int) -> None:
    for t in (0.0, 0.1, 1.0, 2.5, -4.0, 30.0):
        assert stats.two_sided_p(t, df) == pytest.approx(2 * reference.t.sf(abs(t), df), abs=1e-13)
    for level in (0.5, 0.9, 0.95, 0.99, 0.9999):
        assert stats.critical(level, df) == pytest.approx(reference.t.ppf((1 + level) / 2, df), rel=1e-9)


def test_t_interval_by_hand() -> None:
    """10, 12, 14: mean 12, s = 2, t_(2) = 4.302653, half width 4.302653 * 2 / sqrt(3)."""
    interval = stats.mean_interval_t([10, 12, 14])
    assert (interval.estimate, interval.n) == (12.0, 3)
    assert interval.high - 12 == pytest.approx(4.968275, abs=1e-6)
    assert 12 - interval.low == pytest.approx(4.968275, abs=1e-6)


@given(st.lists(finite, min_size=2, max_size=12))
def test_t_interval_and_p_agree_with_scipy(values: list[float]) -> None:
    interval = stats.mean_interval_t(values)
    spread = reference.sem(values)
    if spread > 1e-9:
        low, high = reference.t.interval(0.95, len(values) - 1, np.mean(values), spread)
        assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
        assert stats.t_pvalue(values) == pytest.approx(reference.ttest_1samp(values, 0).pvalue, abs=1e-12)


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    for interval in (stats.mean_interval_t([71.0]), stats.mean_interval_bootstrap([71.0])):
        assert interval.estimate == 71.0
        assert not interval.defined
        assert stats.verdict(interval) == "undecided"
    assert math.isnan(stats.t_pvalue([5.0]))
    assert math.isnan(stats.mean_interval_t([]).estimate)


def test_bootstrap_of_two_seeds_is_their_range_and_repeats() -> None:
    interval = stats.mean_interval_bootstrap([70.0, 74.0])
    assert (interval.low, interval.high) == (70.0, 74.0)
    assert interval == stats.mean_interval_bootstrap([70.0, 74.0])


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).normal(30, 4, 40)
    ours = stats.mean_interval_bootstrap(values)
    rng = np.random.default_rng(1)
    theirs = reference.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=rng)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.06)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.06)


def test_studentized_interval_by_enumeration() -> None:
    """All 4^4 resamples, written out one by one."""
    x = [3.0, 5.0, 4.0, 9.0]
    statistics = []
    for drawn in itertools.product(x, repeat=4):
        if len(set(drawn)) > 1:
            statistics.append((np.mean(drawn) - np.mean(x)) / (np.std(drawn, ddof=1) / 2))
    low, high = np.quantile(statistics, [0.025, 0.975]) * np.std(x, ddof=1) / 2
    interval = stats.mean_interval_studentized(x)
    assert (interval.low, interval.high) == pytest.approx((5.25 - high, 5.25 - low))
    assert interval.high - 5.25 > 5.25 - interval.low  # skewed as the values are, as no t interval is
    assert not stats.mean_interval_studentized([1.0, 2.0, 3.0]).defined
    assert not stats.mean_interval_studentized([2.0, 2.0, 2.0, 2.0]).defined
    assert math.isnan(stats.mean_interval_studentized([]).estimate)


def test_studentized_nears_t_with_many_normal_values() -> None:
    values = np.random.default_rng(3).normal(10, 2, 200)
    ours, t = stats.mean_interval_studentized(values), stats.mean_interval_t(values)
    assert (ours.low, ours.high) == pytest.approx((t.low, t.high), abs=0.03)


def test_paired_takes_common_seeds_in_order() -> None:
    assert stats.paired({3: 9.0, 1: 5.0, 2: 7.0}, {1: 4.0, 3: 6.0, 7: 0.0}).tolist() == [1.0, 3.0]
    assert stats.paired({1: 1.0}, {2: 1.0}).size == 0


@given(st.lists(st.sampled_from([-1.0, 0.0, 2.0]), min_size=1, max_size=12))
def test_sign_test_agrees_with_scipy(values: list[float]) -> None:
    n, above = sum(v != 0 for v in values), sum(v > 0 for v in values)
    expected = reference.binomtest(above, n).pvalue if n else 1.0
    assert stats.sign_pvalue(values) == pytest.approx(expected)


def test_differences_without_spread() -> None:
    assert stats.t_pvalue([0.0, 0.0]) == 1.0
    assert math.isnan(stats.t_pvalue([2.0, 2.0]))


def test_equal_but_for_rounding_is_no_spread() -> None:
    """Differences of equal numbers may differ in the last digit: that is no evidence of a spread of 1e-15."""
    x = [72.3 - 70.1, 52.3 - 50.1, 2.3 - 0.1]
    assert len(set(x)) > 1
    assert stats.no_spread(x)
    assert math.isnan(stats.t_pvalue(x))
    for interval in (stats.mean_interval_t, stats.mean_interval_bootstrap, stats.mean_interval_studentized):
        for values in (x, [0.0, 0.0], [50.0] * 5):
            assert interval(values).estimate == pytest.approx(values[0])
            assert not interval(values).defined, "[2.2, 2.2] would say that the spread is known to be 0"
    assert stats.verdict(stats.mean_interval_t(x), p_adjusted=stats.t_pvalue(x)) == "undecided"
    shift = np.array([0.1, 0.7, 31.3]).reshape(3, 1, 1)
    for effect in stats.factorial_effects(np.array([[[10.3, 14.1], [20.7, 30.9]]]) + shift):
        assert math.isnan(effect.p)
        assert math.isnan(effect.p_pooled)
        assert not effect.interval.defined and not effect.pooled.defined
    assert not stats.no_spread([2.0, 2.001])


def test_holm_by_hand() -> None:
    """0.01 * 4, 0.02 * 3, 0.03 * 2, then never below the one before."""
    assert stats.holm([0.02, 0.01, 0.05, 0.03]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])


@pytest.mark.slow
@settings(max_examples=12)  # statsmodels collects garbage at each call: 0.1 s
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_agrees_with_statsmodels(pvalues: list[float]) -> None:
    assert stats.holm(pvalues) == pytest.approx(multipletests(pvalues, method="holm")[1])


def test_holm_does_not_count_undefined_comparisons() -> None:
    adjusted = stats.holm([math.nan, 0.03, 0.02])
    assert math.isnan(adjusted[0])
    assert adjusted[1:].tolist() == pytest.approx([0.04, 0.04])


@given(finite, st.floats(0, 50))
def test_verdict_never_says_more_than_the_interval(estimate: float, half: float) -> None:
    interval = stats.Interval(estimate, estimate - half, estimate + half, 3)
    said = stats.verdict(interval)
    assert (said == "helps") == (interval.low > 0)
    assert (said == "hurts") == (interval.high < 0)
    assert stats.verdict(interval, p_adjusted=0.2) == "undecided"
    assert stats.verdict(interval, p_adjusted=math.nan) == "undecided"
    assert stats.verdict(interval, p_adjusted=0.05) == said


def test_effects_of_a_2x2_by_hand() -> None:
    """Off/off 10, off/on 14, on/off 20, on/on 30: main 13 and 7, interaction half of (30 - 20) - (14 - 10) = 3."""
    cells = np.array([[[10.0, 14.0], [20.0, 30.0]]])
    effects = {effect.axes: effect for effect in stats.factorial_effects(cells)}
    assert {axes: effect.interval.estimate for axes, effect in effects.items()} == {(0,): 13, (1,): 7, (0, 1): 3}
    assert not effects[0,].interval.defined
    assert not effects[0,].pooled.defined
    assert math.isnan(effects[0,].p_pooled)


def cube(seeds: int = 3) -> np.ndarray:
    rng = np.random.default_rng(8)
    return rng.normal(60, 3, (seeds, 2, 2, 2)) + rng.normal(0, 4, (seeds, 1, 1, 1)) + 5 * np.arange(2).reshape(2, 1, 1)


def long(cells: np.ndarray) -> pd.DataFrame:
    """Effects coded -1/+1: a regression coefficient is half a Yates contrast."""
    index = itertools.product(range(len(cells)), range(2), range(2), range(2))
    rows = [(*key, cells[key]) for key in index]
    frame = pd.DataFrame(rows, columns=["seed", "a", "b", "c", "y"])
    return frame.assign(a=2 * frame["a"] - 1, b=2 * frame["b"] - 1, c=2 * frame["c"] - 1)


def test_pooled_effects_agree_with_a_blocked_regression() -> None:
    cells = cube()
    fit = smf.ols("y ~ a * b * c + C(seed)", long(cells)).fit()
    bounds = 2 * fit.conf_int()
    for effect in stats.factorial_effects(cells):
        name = ":".join("abc"[axis] for axis in effect.axes)
        assert effect.pooled.estimate == pytest.approx(2 * fit.params[name])
        assert (effect.pooled.low, effect.pooled.high) == pytest.approx(tuple(bounds.loc[name]))
        assert effect.p_pooled == pytest.approx(fit.pvalues[name], abs=1e-12)


def test_seed_effects_agree_with_regressions_within_each_seed() -> None:
    cells = cube()
    for effect in stats.factorial_effects(cells):
        name = ":".join("abc"[axis] for axis in effect.axes)
        per_seed = [2 * smf.ols("y ~ a * b * c", part).fit().params[name] for _, part in long(cells).groupby("seed")]
        assert effect.per_seed == pytest.approx(per_seed)
        assert effect.p == pytest.approx(reference.ttest_1samp(per_seed, 0).pvalue)


def test_seed_effects_agree_with_an_anova_of_repeated_measures() -> None:
    cells = cube(4)
    table = AnovaRM(long(cells), "y", "seed", within=["a", "b", "c"]).fit().anova_table
    for effect in stats.factorial_effects(cells):
        assert effect.p == pytest.approx(table.loc[":".join("abc"[axis] for axis in effect.axes), "Pr > F"])


def test_paired_differences_agree_with_scipys_paired_test() -> None:
    """Seeds that only one of the two has are left out."""
    a, b = {1: 70.1, 2: 74.3, 3: 71.9, 5: 80.0}, {1: 68.0, 2: 70.2, 3: 70.9, 4: 10.0}
    theirs = reference.ttest_rel([70.1, 74.3, 71.9], [68.0, 70.2, 70.9])
    x = stats.paired(a, b)
    assert stats.t_pvalue(x) == pytest.approx(theirs.pvalue)
    bounds = theirs.confidence_interval()
    assert (stats.mean_interval_t(x).low, stats.mean_interval_t(x).high) == pytest.approx((bounds.low, bounds.high))


def test_seed_offsets_do_not_touch_effects() -> None:
    cells = cube()
    moved = cells + np.array([0.0, 100.0, -7.0]).reshape(3, 1, 1, 1)
    for one, other in zip(stats.factorial_effects(cells), stats.factorial_effects(moved), strict=True):
        assert one.interval.low == pytest.approx(other.interval.low)
        assert one.pooled.low == pytest.approx(other.pooled.low)


def test_paired_bootstrap_over_sentences() -> None:
    rng = np.random.default_rng(2)
    b = rng.uniform(0, 100, 300)
    better, same = b + 3 + rng.normal(0, 5, 300), b + rng.normal(0, 5, 300)
    clear, none = paired_bootstrap(better, b), paired_bootstrap(same, b)
    assert clear.interval.estimate == pytest.approx((better - b).mean())
    assert stats.verdict(clear.interval) == "helps"
    assert clear.p < 0.002
    assert none.p > 0.05
    theirs = reference.t.interval(0.95, 299, (better - b).mean(), reference.sem(better - b))
    assert (clear.interval.low, clear.interval.high) == pytest.approx(theirs, abs=0.08)
    assert clear == paired_bootstrap(better, b)


def test_paired_bootstrap_of_a_corpus_score() -> None:
    """A ratio of sums (as BLEU's precisions are), not a mean of ratios."""
    a = np.array([[9.0, 10.0], [1.0, 90.0], [5.0, 10.0]])
    b = np.array([[5.0, 10.0], [1.0, 90.0], [5.0, 10.0]])
    found = paired_bootstrap(a, b, score=lambda s: 100 * s[..., 0] / s[..., 1])
    assert found.interval.estimate == pytest.approx(100 * (15 / 110 - 11 / 110))
    assert found.interval.low == 0
