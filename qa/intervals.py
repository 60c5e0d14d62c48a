"""How sure a mean over questions is, where questions on one paragraph go together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 5000


def interval(
    values: NDArray[np.float64], clusters: Sequence[str], level: float = 0.95, seed: int = 42
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` [questions], whole clusters drawn with replacement.

    Questions on one paragraph are not independent: to draw them one by one would promise too much (Field and Welsh
    2007, "Bootstrapping clustered data").
    """
    _, row = np.unique(np.asarray(clusters, dtype=object), return_inverse=True)
    sums, counts = np.bincount(row, values), np.bincount(row)
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(0, DRAWS, 500):  # in parts: [draws, clusters] may be large
        drawn = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=500)
        means.append(drawn @ sums / (drawn @ counts))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
