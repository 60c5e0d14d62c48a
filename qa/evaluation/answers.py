"""What an evaluation finds: candidates, questions with their scores, and figures over all of them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qa.data.example import Example
from qa.evaluation.metrics import exact_match, f1


class NBestAnswer(NamedTuple):
    """One line of `nbest.json`: a candidate, its text, and its probability among the candidates of its question."""

    text: str
    score: float
    probability: float
    start: int
    end: int


class Question(NamedTuple):
    """A question with its best answer: a row of `questions.parquet`."""

    id: str
    question: str
    context: str
    language: str | None
    answers: list[str]
    answer_starts: list[int | None]
    prediction: str  # "" where there is none
    start: int | None  # characters of the context, end-exclusive
    end: int | None
    probability: float | None
    exact_match: float | None  # 0 or 1; None, like f1 and loss, where no answer is known
    f1: float | None  # in [0, 1]
    loss: float | None  # mean over the question's windows
    title: str | None = None  # of the article; files of earlier versions have none


class Evaluation(NamedTuple):
    """All questions of an evaluation, scored, and their n-best answers by id."""

    questions: Sequence[Question]
    answers: Mapping[str, Sequence[NBestAnswer]]
    window_losses: NDArray[np.float32]  # [windows]: of each window once; empty where the answers are not known

    def figures(self) -> dict[str, float]:
        """{"val_loss", "exact_match", "f1"}: mean over windows, and percent over questions."""
        exact, overlap = mean_scores(self.questions)
        loss = float(self.window_losses.mean(dtype=np.float64)) if len(self.window_losses) else math.nan
        return {"val_loss": loss, "exact_match": exact, "f1": overlap}


def mean_scores(questions: Sequence[Question]) -> tuple[float, float]:
    """EM and F1 in percent over the questions whose answers are known, in any order; NaN without any."""
    scores = [(q.exact_match, q.f1) for q in questions if q.exact_match is not None and q.f1 is not None]
    if not scores:
        return math.nan, math.nan
    exact, overlap = (100 * math.fsum(column) / len(scores) for column in zip(*scores, strict=True))
    return exact, overlap


def score_question(example: Example, best: NBestAnswer | None, text: str = "", loss: float | None = None) -> Question:
    """A question with its best answer, or with a `text` whose place and probability nobody knows."""
    texts = [answer.text for answer in example.answers]
    prediction = best.text if best else text
    return Question(
        example.id,
        example.question,
        example.context,
        example.language,
        texts,
        [answer.answer_start for answer in example.answers],
        prediction,
        best.start if best else None,
        best.end if best else None,
        best.probability if best else None,
        max((exact_match(prediction, text) for text in texts), default=None),
        max((f1(prediction, text) for text in texts), default=None),
        loss,
        example.title,
    )
