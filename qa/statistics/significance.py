"""p-values of differences between systems: a permutation test over questions, and what many tests cost."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qa.statistics.intervals import Clusters

DRAWS = 9999
SIGN_BLOCK = 1 << 22  # signs that are in memory at a time


def sign_flips(differences: NDArray[np.float64], by: Clusters, seed: int = 42) -> tuple[list[float], float]:
    """Two-sided p-values of `differences` [pairs, questions], and the smallest that this test can give.

    Under the null hypothesis it does not matter which of two systems an answer comes from: the signs of the differences
    are flipped, all questions of a cluster together. That is the paired permutation test (Dror et al. 2018, "The
    hitchhiker's guide to testing statistical significance in NLP"), on EM a McNemar test that knows of clusters. All
    ways to flip where there are at most DRAWS + 1, else DRAWS drawn ones, which cannot make p less than
    1/(DRAWS + 1) (Phipson and Smyth 2010, "Permutation p-values should never be zero").
    """
    count = len(by.sizes)
    sums = np.stack([np.bincount(by.row, pair, minlength=count) for pair in differences], axis=1)  # (clusters, pairs)
    total, slack = sums.sum(axis=0), 1e-9 * np.abs(sums).sum(axis=0)  # what rounding may do
    every = 1 << count if count < 63 else DRAWS + 2
    exact = every <= DRAWS + 1
    generator = np.random.default_rng(seed)
    as_far = np.zeros(sums.shape[1], np.int64)
    left, rows = every if exact else DRAWS, max(1, SIGN_BLOCK // count)
    while left:
        drawn = min(rows, left)
        if exact:
            flipped = (np.arange(left - drawn, left)[:, None] >> np.arange(count)) & 1
        else:
            flipped = generator.integers(0, 2, (drawn, count), dtype=np.uint8)
        sum_after = total - 2 * (flipped.astype(np.float64) @ sums)  # (draws, pairs)
        as_far += (np.abs(sum_after) >= np.abs(total) - slack).sum(axis=0)
        left -= drawn
    if exact:
        return (as_far / every).tolist(), min(1.0, 2 / every)
    return ((as_far + 1) / (DRAWS + 1)).tolist(), 1 / (DRAWS + 1)


def holm(p_values: Sequence[float], tests: int | None = None) -> list[float]:
    """The p-values corrected for their number (Holm 1979, "A simple sequentially rejective test procedure").

    `tests`: how many there were, where these are only some of them. None of the others is taken to be smaller, which
    is on the safe side.
    """
    corrected, largest, count = [0.0] * len(p_values), 0.0, tests or len(p_values)
    for rank, row in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, p_values[row] * (count - rank)))
        corrected[row] = largest
    return corrected
