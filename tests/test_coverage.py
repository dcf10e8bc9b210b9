"""How often intervals hold the true value, by simulation, against what is said where they are offered."""

import numpy as np
import pytest
from bootstrap import paired_bootstrap

from analysis import stats
from analysis.sentences import ENOUGH, bleu, statistics


@pytest.mark.parametrize(
    ("n", "draw", "expected"),
    [
        (2, "normal", (95, None, 50)),
        (3, "normal", (95, None, 75)),
        (4, "normal", (95, 95, 81)),
        (8, "exponential", (90, 94, 84)),
        (10, "normal", (95, 95, 90)),
    ],
)
def test_over_seeds_it_is_as_documented(n: int, draw: str, expected: tuple[int | None, ...]) -> None:
    """t, studentized, percentile: within four standard errors of the table of analysis/stats.py; None: not given."""
    rng = np.random.default_rng(0)
    mean = 0 if draw == "normal" else 1
    covered = np.zeros(3)
    for values in rng.normal(0, 1, (400, n)) if draw == "normal" else rng.exponential(1, (400, n)):
        intervals = [
            stats.mean_interval_t(values),
            stats.mean_interval_studentized(values, resamples=1000),
            stats.mean_interval_bootstrap(values, resamples=1000),
        ]
        covered += [each.low <= mean <= each.high for each in intervals]
    share = np.array([each or 0 for each in expected]) / 100
    assert np.all(np.abs(covered / 400 - share) <= 4 * np.sqrt(share * (1 - share) / 400)), covered / 400


@pytest.mark.parametrize(("spread", "interaction", "least", "most"), [(1, 0, 90, 99), (3, 0, 88, 98), (1, 1, 55, 75)])
def test_pooling_bears_unequal_arms_but_no_effect_that_varies_with_the_seed(
    spread: float, interaction: float, least: float, most: float
) -> None:
    """Main effect of a 2x2x2 over 3 seeds, truly 0; the own interval holds its level in all three cases."""
    rng = np.random.default_rng(1)
    sizes, signs = np.array([spread, 1]).reshape(2, 1, 1), np.array([-1, 1]).reshape(2, 1, 1)
    own, pooled = 0, 0
    for _ in range(300):
        cells = sizes * rng.normal(0, 1, (3, 2, 2, 2)) + interaction * signs * rng.normal(0, 1, (3, 1, 1, 1))
        effect = stats.factorial_effects(cells)[0]
        own += effect.interval.low <= 0 <= effect.interval.high
        pooled += effect.pooled.low <= 0 <= effect.pooled.high
    assert 90 < own / 3 < 99
    assert least < pooled / 3 < most


@pytest.fixture(scope="module")
def population() -> tuple[np.ndarray, np.ndarray]:
    """sacreBLEU's counts of two equally good systems on 4,000 sentences of 3 to 14 words; some are harder for both."""
    rng = np.random.default_rng(3)
    words = np.array([f"w{i}" for i in range(60)])
    references = [rng.choice(words, rng.integers(3, 15)) for _ in range(4000)]
    wrong = 0.2 * rng.uniform(0.2, 2, len(references))

    def translated() -> list[str]:
        kept = [rng.random(len(text)) > share for text, share in zip(references, wrong, strict=True)]
        pairs = zip(references, kept, strict=True)
        return [" ".join(np.where(same, text, rng.choice(words, len(text)))) for text, same in pairs]

    texts = [" ".join(text) for text in references]
    return statistics(translated(), texts), statistics(translated(), texts)


@pytest.mark.parametrize(("sentences", "least", "most"), [(5, 70, 91), (ENOUGH, 88, 100)])
def test_over_sentences_it_takes_enough_of_them(
    population: tuple[np.ndarray, np.ndarray], sentences: int, least: float, most: float
) -> None:
    """True difference: that on all 4,000."""
    true = float(bleu(population[0].sum(axis=0)) - bleu(population[1].sum(axis=0)))
    rng, covered = np.random.default_rng(4), 0
    for _ in range(200):
        a, b = (table[drawn] for drawn in [rng.integers(0, 4000, sentences)] for table in population)
        found = paired_bootstrap(a, b, bleu, resamples=1000).interval
        covered += found.low <= true <= found.high
    assert least < covered / 2 <= most
