"""The calibration of answers' probabilities, and the answers that they tell apart."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from qa.evaluation.answers import Question

BINS = 15
SIMULATIONS = 1000
ANSWER_BLOCK = 1 << 22  # answers that are drawn at a time


class Trust(BaseModel):
    """Figures of the probabilities of some answers, all in [0, 1]; right is what matches exactly."""

    questions: int
    ece: float  # expected calibration error
    ece_chance: float  # what 97.5% of perfectly calibrated models with these probabilities stay below
    macro_ce: float | None  # mean distance of probability and outcome, right and wrong answers weighed alike
    auroc: float | None  # how often a right answer is more probable than a wrong one
    brier: float  # mean squared distance of probability and outcome
    aurc: float  # share of wrong answers among the surest, mean over all coverages
    coverage_80: float  # how many of the surest answers can be taken so that 80% are right
    coverage_90: float


class Calibration(NamedTuple):
    """The calibration of `counts.sum()` answers; the arrays are by bin, without empty bins. See `Trust`."""

    error: float
    probabilities: NDArray[np.float64]
    shares: NDArray[np.float64]
    counts: NDArray[np.intp]


def outcomes(questions: Iterable[Question]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The probability, and whether the answer is right, [answers] each, where both are known."""
    pairs = [(q.probability, q.exact_match) for q in questions if q.probability is not None]
    probability, right = np.array([pair for pair in pairs if pair[1] is not None], float).reshape(-1, 2).T
    return probability, right


def trust(probability: NDArray[np.float64], right: NDArray[np.float64]) -> Trust | None:
    """The figures of answers, [answers] each; None without any.

    MacroCE: Si et al. 2022, "Re-examining calibration: the case of question answering". Brier 1950, "Verification of
    forecasts expressed in terms of probability". AURC: Geifman et al. 2019, "Bias-reduced uncertainty estimation".
    Coverage at an accuracy: Kamath et al. 2020, "Selective question answering under domain shift".
    """
    from scipy.stats import rankdata  # slow to import, and only the end of a run needs it

    if not len(probability):
        return None
    coverage, risk = risk_coverage(probability, right)
    good, bad = probability[right == 1], probability[right == 0]
    both = bool(len(good) and len(bad))
    ranks = rankdata(probability)[right == 1].sum() - len(good) * (len(good) + 1) / 2
    return Trust(
        questions=len(probability),
        ece=calibration(probability, right).error,
        ece_chance=chance(probability),
        macro_ce=float(((1 - good).mean() + bad.mean()) / 2) if both else None,
        auroc=float(ranks / (len(good) * len(bad))) if both else None,
        brier=float(((probability - right) ** 2).mean()),
        aurc=float((risk * np.diff(coverage, prepend=0)).sum()),
        coverage_80=float(coverage[risk <= 0.2 + 1e-12].max(initial=0)),
        coverage_90=float(coverage[risk <= 0.1 + 1e-12].max(initial=0)),
    )


def risk_coverage(
    probability: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coverage and risk, [distinct probabilities] each: the share of answers at least so probable, and of them wrong.

    Answers of one probability are taken together, as nothing says which of them comes first.
    """
    order = np.argsort(-probability, kind="stable")
    last = np.flatnonzero(np.diff(-probability[order], append=np.inf))  # of each run of equal ones
    counts = last + 1
    return counts / len(order), np.cumsum(1 - right[order])[last] / counts


def calibration(probability: NDArray[np.float64], right: NDArray[np.float64]) -> Calibration:
    """The calibration of answers, [answers] each, at least one.

    15 bins of equal width; the error is the mean distance of probability and share of right answers, weighed by
    questions (Guo et al. 2017, "On calibration of modern neural networks").
    """
    order = np.argsort(probability, kind="stable")
    begins, promised = _bins(probability[order])
    counts, kept = np.diff(begins, append=len(order)), np.add.reduceat(right[order], begins)
    error = float(np.abs(kept - promised).sum()) / len(order)
    return Calibration(error, promised / counts, kept / counts, counts)


def chance(probability: NDArray[np.float64], seed: int = 42) -> float:
    """The calibration error that 97.5% of perfectly calibrated models with these probabilities, [answers], stay below.

    It is above 0 by chance alone, the more so the fewer questions there are: outcomes that are drawn by the very
    probabilities show how far.
    """
    probability = np.sort(probability)
    begins, promised = _bins(probability)
    generator, distances = np.random.default_rng(seed), []
    rows = max(1, ANSWER_BLOCK // len(probability))
    for begin in range(0, SIMULATIONS, rows):
        drawn = generator.random((min(rows, SIMULATIONS - begin), len(probability)), np.float32) < probability
        distances.append(np.abs(np.add.reduceat(drawn, begins, axis=1, dtype=np.int64) - promised).sum(axis=1))
    return float(np.quantile(np.concatenate(distances), 0.975)) / len(probability)


def _bins(probability: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The begin of each bin with some of the rising probabilities, and their sum in it."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    begins = np.flatnonzero(np.diff(bins, prepend=-1))
    return begins, np.add.reduceat(probability, begins)
