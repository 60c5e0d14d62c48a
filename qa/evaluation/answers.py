"""The results of an evaluation: candidates, questions with their scores, and figures over all of them."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qa.data.example import Example
from qa.evaluation.metrics import scores, v2_scores
from qa.evaluation.thresholds import best_threshold, kept_threshold

NO_ANSWER = "no answer"  # for people


class NBestAnswer(NamedTuple):
    """A line of `nbest.json`: a candidate, its text, and its probability among the candidates of its question.

    SQuAD v2 has one candidate more, the null answer: no text, from character 0 to 0.
    """

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
    probability: float | None  # of the given answer, be it the null answer
    exact_match: float | None  # 0 or 1; None, like f1 and loss, where no answer is known
    f1: float | None  # in [0, 1]
    loss: float | None  # mean over the question's windows
    title: str | None = None  # of the article; files of earlier versions have none

    @property
    def is_unanswerable(self) -> bool:
        """Whether its context is known to hold no answer (SQuAD v2)."""
        return self.exact_match is not None and not self.answers

    @property
    def shown_references(self) -> list[str]:
        """The reference answers, for people; empty where they are not known."""
        return [NO_ANSWER] if self.is_unanswerable else list(dict.fromkeys(self.answers))

    @property
    def shown_prediction(self) -> str:
        """The prediction, for people."""
        return self.prediction or NO_ANSWER


class Evaluation(NamedTuple):
    """The questions of an evaluation, scored, and their n-best answers by id."""

    questions: Sequence[Question]
    answers: Mapping[str, Sequence[NBestAnswer]]
    window_losses: NDArray[np.float32]  # [windows]: of each window once; empty where the answers are not known
    null_odds: Mapping[str, float] | None = None  # by id; None where every question gets an answer, as in SQuAD v1.1

    def figures(self) -> dict[str, float]:
        """{"val_loss", "exact_match", "f1"}: mean over windows, percent over questions; v2 and languages add some."""
        exact, overlap = mean_scores(self.questions)
        loss = float(self.window_losses.mean(dtype=np.float64)) if len(self.window_losses) else math.nan
        figures = {"val_loss": loss, "exact_match": exact, "f1": overlap, **figures_by_language(self.questions)}
        if self.null_odds is None:
            return figures
        return {**figures, **figures_by_answer(self.questions), **self._with_best_threshold(self.null_odds)}

    def _with_best_threshold(self, null_odds: Mapping[str, float]) -> dict[str, float]:
        """EM and F1 with the threshold that is best for each, and the one to keep: see `qa.evaluation.thresholds`."""
        odds = [null_odds[question.id] for question in self.questions]
        spans = [best_span(self.answers[question.id]) for question in self.questions]
        scored = [
            v2_scores(span.text, q.answers) if span and not q.prediction else (q.exact_match, q.f1)
            for q, span in zip(self.questions, spans, strict=True)
        ]
        has_answer, has_span = [bool(q.answers) for q in self.questions], [span is not None for span in spans]
        figures: dict[str, float] = {}
        exact, overlap = zip(*scored, strict=True)
        for name, column in (("exact", exact), ("f1", overlap)):
            best, threshold = best_threshold(column, odds, has_answer, has_span)
            figures |= {f"best_{name}": best, f"best_{name}_thresh": threshold}
        return {**figures, "kept_threshold": kept_threshold(overlap, odds, has_answer, has_span)}


def best_span(candidates: Sequence[NBestAnswer]) -> NBestAnswer | None:
    """The best candidate that is a span of the context."""
    return next((answer for answer in candidates if answer.text), None)


def null_odds(candidates: Sequence[NBestAnswer]) -> float:
    """Null score − score of the best span, of candidates with the null answer; the largest float without a span."""
    null, span = next(answer for answer in candidates if not answer.text), best_span(candidates)
    return null.score - span.score if span else sys.float_info.max


def given_answer(candidates: Sequence[NBestAnswer], threshold: float | None) -> NBestAnswer | None:
    """The best span, or the null answer where the null odds are above `threshold`.

    Without a threshold it is the best span, or None where there is no candidate.
    """
    refused = threshold is not None and null_odds(candidates) > threshold
    return next((answer for answer in candidates if bool(answer.text) != refused), None)


def mean_scores(questions: Sequence[Question]) -> tuple[float, float]:
    """EM and F1 in percent over the questions with known answers, in any order; NaN without any."""
    pairs = [(q.exact_match, q.f1) for q in questions if q.exact_match is not None and q.f1 is not None]
    if not pairs:
        return math.nan, math.nan
    exact, overlap = (100 * math.fsum(column) / len(pairs) for column in zip(*pairs, strict=True))
    return exact, overlap


def figures_by_answer(questions: Sequence[Question]) -> dict[str, float]:
    """EM and F1 in percent of the questions with an answer and of those without, under the official script's names."""
    figures: dict[str, float] = {}
    for kind, unanswerable in (("HasAns", False), ("NoAns", True)):
        if group := [question for question in questions if question.is_unanswerable == unanswerable]:
            figures |= zip((f"{kind}_exact", f"{kind}_f1"), mean_scores(group), strict=True)
    return figures


def by_language(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """The scored questions of each known language, by code in order."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        if question.language and question.exact_match is not None:
            groups.setdefault(question.language, []).append(question)
    return dict(sorted(groups.items()))


def figures_by_language(questions: Iterable[Question]) -> dict[str, float]:
    """{"exact_match_de", "f1_de", …, "exact_match_mean", "f1_mean"} in percent; none with fewer than two languages.

    The mean is that of the languages, however many questions each has.
    """
    means = {language: mean_scores(group) for language, group in by_language(questions).items()}
    if len(means) < 2:
        return {}
    exact, overlap = (fmean(column) for column in zip(*means.values(), strict=True))
    return {
        f"{name}_{code}": figure
        for code, pair in {**means, "mean": (exact, overlap)}.items()
        for name, figure in zip(("exact_match", "f1"), pair, strict=True)
    }


def score_question(
    example: Example, chosen: NBestAnswer | None, text: str = "", loss: float | None = None, v2: bool = False
) -> Question:
    """A question with its `chosen` answer, or with a `text` of unknown place and probability.

    `v2`: whether it is scored as SQuAD v2.0 is.
    """
    texts = [answer.text for answer in example.answers]
    prediction = chosen.text if chosen else text
    start, end = (chosen.start, chosen.end) if chosen and prediction else (None, None)
    exact, overlap = None, None
    if texts or (v2 and example.is_impossible):
        exact, overlap = v2_scores(prediction, texts) if v2 else scores(prediction, texts)
    asked = example.id, example.question, example.context, example.language
    starts = [answer.answer_start for answer in example.answers]
    probability = chosen.probability if chosen else None
    return Question(*asked, texts, starts, prediction, start, end, probability, exact, overlap, loss, example.title)
