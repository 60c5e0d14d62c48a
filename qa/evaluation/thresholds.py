"""SQuAD v2: how sure a model must be that a question has no answer."""

import numpy as np
from numpy.typing import ArrayLike


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
    scores, odds, has_answer, has_span = (np.asarray(column) for column in (scores, null_odds, has_answer, has_span))
    order = np.argsort(odds, kind="stable")
    gains = np.where(has_answer, scores, -1.0 * has_span)[order]
    sums = np.cumsum(np.concatenate([[np.count_nonzero(~has_answer)], gains]))  # [questions answered so far + 1]
    best = int(sums.argmax())
    return float(100.0 * sums[best] / len(scores)), float(odds[order[best - 1]]) if best else 0.0
