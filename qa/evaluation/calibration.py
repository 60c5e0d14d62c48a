"""How far probabilities can be trusted: calibration error, what chance alone would make of it, and the Brier score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qa.evaluation.answers import Question

BINS = 15
SIMULATIONS = 1000
BLOCK = 1 << 22  # answers that are drawn at a time


class Calibration(NamedTuple):
    """How well the probabilities of `counts.sum()` answers are calibrated; the arrays are by bin, without empty bins.

    `error`: expected calibration error in [0, 1]; `chance`: what 97.5% of perfectly calibrated models with these
    probabilities stay below; `brier`: mean squared distance of probability and outcome.
    """

    error: float
    chance: float
    brier: float
    probabilities: NDArray[np.float64]
    shares: NDArray[np.float64]
    counts: NDArray[np.intp]

    def __str__(self) -> str:
        return (
            f"Expected calibration error {self.error:.3f} (below {self.chance:.3f} for 97.5% of perfectly calibrated"
            f" models), Brier score {self.brier:.3f}"
        )


def calibration(questions: Sequence[Question], seed: int = 42) -> Calibration | None:
    """The calibration of the best answers, right where they match exactly; None where no probability is known.

    15 bins of equal width; the error is the mean distance of probability and share of right answers, weighed by
    questions (Guo et al. 2017, "On calibration of modern neural networks"). It is above 0 by chance alone, the more so
    the fewer questions there are: outcomes that are drawn by the very probabilities show how far. Brier 1950,
    "Verification of forecasts expressed in terms of probability".
    """
    scored = [q for q in questions if q.exact_match is not None and q.probability is not None]
    if not scored:
        return None
    probability = np.array([q.probability for q in scored], float)
    right = np.array([q.exact_match for q in scored], float)
    order = np.argsort(probability, kind="stable")
    probability, right = probability[order], right[order]
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    begins = np.flatnonzero(np.diff(bins, prepend=-1))  # of each bin that holds some
    counts, promised = np.diff(begins, append=len(bins)), np.add.reduceat(probability, begins)
    kept = np.add.reduceat(right, begins)
    generator, chance = np.random.default_rng(seed), []
    rows = max(1, BLOCK // len(probability))
    for begin in range(0, SIMULATIONS, rows):
        drawn = generator.random((min(rows, SIMULATIONS - begin), len(probability)), np.float32) < probability
        chance.append(np.abs(np.add.reduceat(drawn, begins, axis=1, dtype=np.int64) - promised).sum(axis=1))
    return Calibration(
        float(np.abs(kept - promised).sum()) / len(scored),
        float(np.quantile(np.concatenate(chance), 0.975)) / len(scored),
        float(((probability - right) ** 2).mean()),
        promised / counts,
        kept / counts,
        counts,
    )
