"""The paired bootstrap over the sentences of two systems, by itself: what `sentences.compare` does for all at once."""

from collections.abc import Callable

import numpy as np

from analysis.stats import SentenceComparison, from_resamples, resampling


def share(statistics: np.ndarray) -> np.ndarray:
    """The mean of sentence scores, of their sum and number."""
    return statistics[..., 0] / statistics[..., 1]


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray] = share,
    resamples: int = 2000,
) -> SentenceComparison:
    """Compare two systems on the same sentences by resampling the sentences together (Koehn, EMNLP 2004).

    a, b: statistics of each sentence, [sentences] for a mean of sentence scores, or [sentences, m] for a corpus
    score: `score` then maps summed statistics [..., m] to the score [...] (for BLEU: n-gram counts and lengths).
    The interval is the percentile interval; it speaks of this test set and this seed only, not of other seeds.
    """
    if a.ndim == 1:
        a, b = (np.stack([x, np.ones_like(x)], axis=1).astype(float) for x in (a, b))
    weights = resampling(len(a), resamples)
    observed = float(score(a.sum(axis=0)) - score(b.sum(axis=0)))
    return from_resamples(observed, score(weights @ a) - score(weights @ b), len(a))
