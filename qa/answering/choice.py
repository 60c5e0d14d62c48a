"""The candidates of a question → its answer."""

import math
from collections.abc import Sequence
from dataclasses import replace

from qa.answering.answer import Answer
from qa.answering.options import Options
from qa.evaluation.answers import NBestAnswer
from qa.evaluation.confidence import probabilities, same_answer
from qa.model.answering import Answering

Found = tuple[int, list[NBestAnswer], float | None]  # number of a context, candidates in it, null score


def choose(found: Sequence[Found], options: Options, answering: Answering, temperature: float) -> Answer:
    """The answer of a question, `found` in each of its contexts."""
    spans = [(place, span) for place, candidates, _ in found for span in candidates]
    spans = sorted(spans, key=lambda pair: -pair[1].score)[: max(answering.n_best, options.top_k)]
    nulls = [score for _, _, score in found if score is not None]
    null = min(nulls) if nulls else None
    texts, scores = [span.text for _, span in spans], [span.score for _, span in spans]
    if null is not None:
        texts, scores = [*texts, ""], [*scores, null]
    each = probabilities(texts, scores, temperature)
    no_answer = None if null is None else each[-1]
    answers = [
        Answer(span.text, span.start, span.end, span.score, probability, place)
        for (place, span), probability in zip(spans, each, strict=False)
    ]
    kept = [
        answer for answer in _apart(answers, options.overlap_threshold) if answer.probability >= options.min_probability
    ]
    odds = -math.inf if null is None else null - spans[0][1].score if spans else math.inf
    threshold = options.threshold(answering)
    # the best span is the answer, or nothing is: another, equal ones added up, may be more probable
    if not kept or kept[0] is not answers[0] or (threshold is not None and odds > threshold):
        nothing = Answer("", 0, 0, null or 0.0, no_answer or 0.0, no_answer_probability=no_answer)
        return replace(nothing, alternatives=tuple(kept[: options.top_k - 1]))
    first, *others = kept[: options.top_k]
    return replace(first, alternatives=tuple(others), no_answer_probability=no_answer)


def _apart(answers: Sequence[Answer], most: float) -> list[Answer]:
    """Those, best first, that no better one equals or covers by more than the share `most`."""
    kept: dict[str | None, Answer] = {}
    for answer in answers:
        if all(_overlap(answer, other) <= most for other in kept.values()):
            kept.setdefault(same_answer(answer.text), answer)
    return list(kept.values())


def _overlap(one: Answer, other: Answer) -> float:
    """The share of the shorter one that is in both."""
    if one.context_index != other.context_index:
        return 0.0
    shared = min(one.end, other.end) - max(one.start, other.start)
    return max(0, shared) / min(one.end - one.start, other.end - other.start)
