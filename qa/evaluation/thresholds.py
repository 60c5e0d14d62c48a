"""SQuAD v2: how sure a model must be that a question has no answer."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best_threshold(
    scores: ArrayLike, null_odds: ArrayLike, has_answer: ArrayLike, has_span: ArrayLike
) -> tuple[float, float]:
    """The best figure, in percent, and its threshold: a question with higher null odds gets no answer.

    [questions] each, in the order of their ids. `scores`: of the best span, in [0, 1]; `null_odds`: null score − score
    of the best span; `has_answer`: whether the question has one; `has_span`: whether the model found one.

    As `find_best_thresh` of the official evaluate-v2.0.py, to the bit: it begins with no question answered, answers
    them by their odds, takes the first of equal figures, and 0.0 where none is better than no answer at all. Here the
    best span of every question counts. The official script sees predictions.json, which has "" for odds above 0, and so
    finds no threshold above 0.
    """
    odds, sums = _answered(scores, null_odds, has_answer, has_span)
    best = int(sums.argmax())
    return float(100.0 * sums[best] / len(odds)), float(odds[best - 1]) if best else 0.0


def kept_threshold(scores: ArrayLike, null_odds: ArrayLike, has_answer: ArrayLike, has_span: ArrayLike) -> float:
    """The threshold that gives the best figure when it is applied; arguments as of `best_threshold`.

    The official one does not where no answer at all is best, as its 0.0 answers what has lower odds, and where it
    divides questions of equal odds, which no threshold can.
    """
    odds, sums = _answered(scores, null_odds, has_answer, has_span)
    places = np.concatenate([[0], np.flatnonzero(np.append(odds[1:] != odds[:-1], True)) + 1])
    best = int(places[sums[places].argmax()])
    return float(odds[best - 1]) if best else min(0.0, float(np.nextafter(odds[0], -np.inf)))


def _answered(
    scores: ArrayLike, null_odds: ArrayLike, has_answer: ArrayLike, has_span: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The null odds in their order, [questions], and the score where so many are answered, [questions + 1]."""
    scores, odds, has_answer, has_span = (np.asarray(column) for column in (scores, null_odds, has_answer, has_span))
    order = np.argsort(odds, kind="stable")
    gains = np.where(has_answer, scores, -1.0 * has_span)[order]
    return odds[order].astype(float), np.cumsum(np.concatenate([[np.count_nonzero(~has_answer)], gains]))
