"""Why answers are wrong, and which references look wrong."""

import math
from collections import Counter
from collections.abc import Iterable

from qa.evaluation.answers import Question
from qa.evaluation.metrics import normalize, v2_scores
from qa.statistics.breakdown import Kind

NEEDLESS, UNANSWERED = "an answer where there is none", "no answer where there is one"
SPELLING = "right by the rules of its language"
LONG, SHORT, CROSSING = "boundary: too long", "boundary: too short", "boundary: crosses a reference"
ELSEWHERE_ALIKE, ELSEWHERE = "another place, in words of a reference", "another place"
ERROR_KINDS = (SPELLING, LONG, SHORT, CROSSING, ELSEWHERE_ALIKE, ELSEWHERE, UNANSWERED, NEEDLESS)
MOST_DOUBT = 1e6  # where the loss is infinite
ALIKE = 0.5  # F1 from which an answer at another place may be right


def error_kind(question: Question) -> str:
    """Why an answer is no exact match, one of ERROR_KINDS; empty where it is one, and where no answer is known.

    A reference without a place is compared by its text.
    """
    if question.exact_match != 0:
        return ""
    if question.is_unanswerable:
        return NEEDLESS
    if not question.prediction:
        return UNANSWERED
    if question.language and v2_scores(question.prediction, question.answers, question.language)[0]:
        return SPELLING
    shared = [
        _boundary(question, *reference) for reference in zip(question.answers, question.answer_starts, strict=True)
    ]
    if kinds := [kind for kind in (LONG, SHORT, CROSSING) if kind in shared]:
        return kinds[0]
    return ELSEWHERE_ALIKE if (question.f1 or 0.0) >= ALIKE else ELSEWHERE


def _boundary(question: Question, reference: str, place: int | None) -> str:
    """How the answer lies to a reference that it overlaps; empty where it does not."""
    if place is None or question.start is None or question.end is None:
        words, answer = (f" {normalize(text)} " for text in (reference, question.prediction))
        return LONG if words in answer else SHORT if answer in words else ""
    begin, end = place, place + len(reference)
    if question.end <= begin or end <= question.start:
        return ""
    if question.start <= begin and end <= question.end:
        return LONG
    return SHORT if begin <= question.start and question.end <= end else CROSSING


def count_errors(errors: Iterable[tuple[Question, str]], kind: Kind) -> dict[str, Counter[str]]:
    """The number of wrong answers of each kind of error, in the order of ERROR_KINDS, by kind of question.

    `errors`: questions with their kinds of error, empty for a right answer.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in ERROR_KINDS}
    for question, name in errors:
        if name:
            counts[name][kind(question)] += 1
    return {name: count for name, count in counts.items() if count}


def label_doubt(question: Question) -> float | None:
    """How sure a model is that a reference is wrong: log P(its answer) − log P(reference); None for a right answer.

    The loss is the mean of −log P of the reference's first and of its last token. This is the normalised margin of
    confident learning (Northcutt et al. 2021) in logarithms.
    """
    if question.exact_match != 0 or not question.probability or question.loss is None:
        return None
    return min(math.log(question.probability) + 2 * question.loss, MOST_DOUBT)
