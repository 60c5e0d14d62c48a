"""Why answers are wrong, and which references are likely wrong."""

import math
from typing import Any

import pytest

from helpers.questions import question
from qa.evaluation.answers import Question
from qa.statistics.breakdown import language
from qa.statistics.error_kinds import (
    CROSSING,
    ELSEWHERE,
    ELSEWHERE_ALIKE,
    LONG,
    NEEDLESS,
    SHORT,
    SPELLING,
    UNANSWERED,
    count_errors,
    error_kind,
    label_doubt,
)

TEXT = "Ada Brill built the grey bridge of Tollen in 1822, and Ada Lund rebuilt it in 1912."


def answered(prediction: str, answer: str = "grey bridge", place: int | None = -1, **fields: Any) -> Question:
    start = TEXT.index(prediction)
    starts = [TEXT.index(answer) if place == -1 else place]
    end = start + len(prediction)
    known: dict[str, Any] = {"answer_starts": starts, "start": start, "end": end, "exact_match": 0.0, "f1": 0.0}
    known |= {"answers": [answer], "prediction": prediction, **fields}
    return question("q", "", "", context=TEXT)._replace(**known)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (answered("grey bridge", exact_match=1.0, f1=1.0), ""),
        (answered("grey bridge", exact_match=None, f1=None), ""),
        (answered("the grey bridge of Tollen"), LONG),
        (answered("bridge"), SHORT),
        (answered("bridge of Tollen"), CROSSING),
        (answered("Ada Lund", "Ada Brill", f1=0.5), ELSEWHERE_ALIKE),
        (answered("1912", "1822"), ELSEWHERE),
        (answered("grey bridge of Tollen", place=None), LONG),
        (answered("grey", place=None), SHORT),
        (answered("1912", place=None), ELSEWHERE),
        (answered("1912", "191", place=None), ELSEWHERE),
        (answered("the", "Ada", language="en"), ELSEWHERE),
        (answered("", start=None, end=None), UNANSWERED),
        (answered("1912")._replace(answers=[], answer_starts=[]), NEEDLESS),
        (answered("in 1822", "1822", language="de"), LONG),
        (answered("1822,", "1822", language="de"), SPELLING),
    ],
)
def test_the_kind_of_an_error(asked: Question, kind: str) -> None:
    assert error_kind(asked) == kind


def test_of_several_references_the_one_that_the_answer_overlaps_decides() -> None:
    asked = answered("Ada Lund")._replace(
        answers=["1822", "Lund"], answer_starts=[TEXT.index("1822"), TEXT.index("Lund")]
    )
    assert error_kind(asked) == LONG


def test_errors_are_counted_by_kind_of_question() -> None:
    asked = [
        answered("bridge", language="de"),
        answered("bridge"),
        answered("1912"),
        answered("grey bridge", exact_match=1.0),
    ]
    counts = count_errors([(one, error_kind(one)) for one in asked], language)
    assert list(counts) == [SHORT, ELSEWHERE]
    assert counts[SHORT] == {"de": 1, "unknown": 1} and counts[ELSEWHERE] == {"unknown": 1}


def test_the_surer_of_another_answer_the_more_doubtful_is_a_reference() -> None:
    sure = answered("1912", "1822", probability=0.9, loss=6.0)
    doubts = [label_doubt(one) for one in (sure, sure._replace(probability=0.2), sure._replace(loss=1.0))]
    assert doubts[0] > doubts[1] > doubts[2]  # type: ignore[operator]
    assert label_doubt(answered("grey bridge", exact_match=1.0)) is None
    assert label_doubt(sure._replace(loss=None)) is None
    assert label_doubt(sure._replace(loss=math.inf)) == 1e6
