"""Verdicts from numbers alone: rivals, reasons, and never more than the interval allows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from analysis.claims import judge
from analysis.questions import Question
from analysis.questions.scores import closest


def test_the_closest_rival_by_hand() -> None:
    """All above: the largest p of all. One below: the smallest p of those below, times the number of rivals."""
    near, far, below = np.array([1.0, 2.0, 4.0]), np.array([9.0, 10.0, 12.0]), np.array([-9.0, -10.0, -12.0])
    p = reference.ttest_1samp(near, 0).pvalue
    assert closest({"near": near, "far": far}) == ("near", pytest.approx(p))
    p = reference.ttest_1samp(below, 0).pvalue
    assert closest({"near": near, "far": far, "below": below}) == ("below", pytest.approx(3 * p))
    assert closest({"far": np.array([9.0]), "near": np.array([1.0])})[0] == "near", "of one seed each: by its value"
    name, p = closest({"near": near, "single": np.array([5.0])})
    assert name == "single"
    assert math.isnan(p)


def test_one_rival_without_a_spread_leaves_it_open_in_any_order() -> None:
    """Five at every seed: the spread over other seeds is unknown, so "better than every other" is not shown."""
    near, same = np.array([1.0, 1.1, 0.9]), np.array([5.0, 5.0, 5.0])
    for x in ({"near": near, "same": same}, {"same": same, "near": near}):
        name, p = closest(x)
        assert name == "same" and math.isnan(p)
    behind = np.array([-1.0, -1.1, -0.9])
    for x in ({"behind": behind, "same": -same}, {"same": -same, "behind": behind}):
        name, p = closest(x)
        assert (name, p) == ("behind", pytest.approx(2 * reference.ttest_1samp(behind, 0).pvalue))


def test_a_better_rival_decides_whatever_is_unknown_of_others() -> None:
    """To refute "the best of all" one better arm is enough, though another has one seed or none."""
    behind = np.array([-1.0, -1.1, -0.9])
    for other in ([], [5.0], [-5.0], [0.0, 0.0, 0.0]):
        name, p = closest({"other": np.array(other), "behind": behind})
        assert (name, p) == ("behind", pytest.approx(2 * reference.ttest_1samp(behind, 0).pvalue))
    level = closest({"near": -behind, "level": np.zeros(3)})
    assert level[0] == "level" and math.isnan(level[1]), "equal in every seed: not shown to be worse"


def test_equal_values_are_no_interval_that_holds_both_kinds_of_values() -> None:
    for values in ([0.0, 0.0], [3.0, 3.0, 3.0]):
        claim = judge(Question("key", "statement", "score", x=np.array(values), criterion="so"), 1.0, 5)
        assert claim.verdict == "undecided" and not claim.effect.defined
        assert "no spread to judge by" in claim.reason


def test_the_reason_says_which_way_the_interval_points() -> None:
    """p above 5% after the correction: all below 0 must not read like support."""
    x = np.array([-9.0, -10.0, -12.0])
    for values, alone in ((x, "outside what the claim says, so, and alone would say not reproduced"),
                          (-x, "within what the claim says, so, and alone would say reproduced")):  # fmt: skip
        claim = judge(Question("key", "statement", "score", x=values, criterion="so"), 0.06, 5)
        assert claim.verdict == "undecided" and alone in claim.reason


numbers = st.lists(st.floats(-5, 5).map(lambda v: round(v, 2)), min_size=0, max_size=6)


@settings(max_examples=200)
@given(numbers, st.sampled_from([(0.0,), (-1.0,), (-1.0, 1.0)]), st.floats(0, 1), st.booleans())
def test_a_verdict_never_says_more_than_the_interval(
    values: list[float], edges: tuple[float, ...], p: float, inside: bool
) -> None:
    """Decided only with the whole interval on one side of every edge and p at most 5%; p itself agrees with that."""

    def holds(effect: float) -> bool:
        return (edges[0] < effect < edges[-1]) == inside if len(edges) > 1 else effect > edges[0]

    question = Question("key", "statement", "score", x=np.array(values), edges=edges, holds=holds, criterion="so")
    claim = judge(question, p, 3)
    low, high = claim.effect.low, claim.effect.high
    crosses = not claim.effect.defined or any(low <= edge <= high for edge in edges)
    assert (claim.verdict != "undecided") == (not crosses and p <= 0.05 + 1e-12)
    if claim.verdict != "undecided":
        assert holds(claim.effect.estimate) == holds(low) == holds(high) == (claim.verdict == "reproduced")
    if claim.effect.defined and high - low > 1e-6 and min(abs(b - e) for b in (low, high) for e in edges) > 1e-9:
        assert (question.pvalue <= 0.05) == (not crosses)
