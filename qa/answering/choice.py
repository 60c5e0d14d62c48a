"""The candidates of a question → its answer."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from qa.answering.answer import Answer
from qa.evaluation.answers import NBestAnswer

N_BEST = 20  # candidates of a question, over which its probabilities add up to 1


class Options(NamedTuple):
    """How to answer, checked."""

    top_k: int
    max_answer_length: int  # tokens
    min_probability: float
    threshold: float | None  # null odds above which there is no answer; None: always answer
    overlap_threshold: float
    batch_size: int | Literal["auto"]


def choose(found: Sequence[tuple[int, list[NBestAnswer], float | None]], options: Options) -> Answer:
    """The answer of a question. `found`: of each of its contexts the number, the candidates and the null score."""
    spans = [(place, span) for place, candidates, _ in found for span in candidates]
    spans = sorted(spans, key=lambda pair: -pair[1].score)[: max(N_BEST, options.top_k)]
    nulls = [score for _, _, score in found if score is not None]
    null = min(nulls) if nulls else None
    scores = [span.score for _, span in spans] + ([] if null is None else [null])
    weights = np.exp(np.array(scores) - max(scores, default=0.0))
    probabilities = (weights / weights.sum()).tolist()
    no_answer = None if null is None else probabilities[-1]
    answers = [
        Answer(span.text, span.start, span.end, span.score, probability, place)
        for (place, span), probability in zip(spans, probabilities, strict=False)
        if probability >= options.min_probability
    ]
    kept = _apart(answers, options.overlap_threshold)
    odds = -math.inf if null is None else null - spans[0][1].score if spans else math.inf
    if not kept or (options.threshold is not None and odds > options.threshold):
        nothing = Answer("", 0, 0, null or 0.0, no_answer or 0.0, no_answer_probability=no_answer)
        return replace(nothing, alternatives=tuple(kept[: options.top_k - 1]))
    first, *others = kept[: options.top_k]
    return replace(first, alternatives=tuple(others), no_answer_probability=no_answer)


def _apart(answers: Sequence[Answer], most: float) -> list[Answer]:
    """Those, best first, of which no better one covers more than the share `most`."""
    kept: list[Answer] = []
    for answer in answers:
        if all(_overlap(answer, other) <= most for other in kept):
            kept.append(answer)
    return kept


def _overlap(one: Answer, other: Answer) -> float:
    """The share of the shorter one that is in both."""
    if one.context_index != other.context_index:
        return 0.0
    shared = min(one.end, other.end) - max(one.start, other.start)
    return max(0, shared) / min(one.end - one.start, other.end - other.start)
