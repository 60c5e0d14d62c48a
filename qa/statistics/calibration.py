"""The probability that an answer is right: its candidates added up, at a temperature that is fitted to outcomes."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from qa.evaluation.answers import Evaluation, NBestAnswer, Question, null_odds
from qa.evaluation.metrics import normalize
from qa.statistics.trust import Trust, trust

LOWEST, HIGHEST = 0.1, 10.0  # temperatures
MOST_ODDS = 50.0  # log-odds
HALVES = 42  # the seed of the contexts' halves
SPREAD = 0.5  # of ln(temperature) around what is expected of it: the fewer the questions, the nearer it stays

Line = tuple[float, float]  # slope and offset: null odds → log-odds that there is no answer
Scales = tuple[float, Mapping[str, float], Line]  # temperature of all questions, and of some languages
UNFITTED: Line = (1.0, 0.0)  # the softmax of no answer beside the best span


def same_answer(text: str) -> str | None:
    """The part of an answer that EM compares: equal for "the mill" and "Mill."; None for the null answer, "", alone."""
    return normalize(text) if text else None


def probabilities(texts: Sequence[str], scores: Sequence[float], temperature: float = 1.0) -> list[float]:
    """The probability of each span of a question, in their order, if there is an answer.

    softmax(score / temperature), added up over the spans that EM takes for the same answer, wherever they are:
    "1912" twice in a context, and "in 1912" beside "1912" only if they normalise alike.
    """
    scaled = np.array(scores, float) / temperature
    weights = np.exp(scaled - scaled.max(initial=-np.inf))
    sums: dict[str | None, float] = {}
    kinds = [same_answer(text) for text in texts]
    for kind, weight in zip(kinds, (weights / weights.sum()).tolist(), strict=True):
        sums[kind] = sums.get(kind, 0.0) + weight
    return [min(sums[kind], 1.0) for kind in kinds]


def no_answer_probability(null_odds: ArrayLike, line: Line) -> NDArray[np.float64]:
    """The probability that there is no answer, of any shape: that of the null odds."""
    slope, offset = line
    return 1 / (1 + np.exp(-np.clip(slope * np.asarray(null_odds, float) + offset, -MOST_ODDS, MOST_ODDS)))


class Calibrated(BaseModel):
    """The worth of an evaluation's probabilities; `before`: the plain softmax of the given answer's place."""

    before: Trust
    after: Trust
    temperature: float
    temperature_by_language: dict[str, float] = {}
    no_answer_slope: float | None = None  # see `Line`; None where every question gets an answer
    no_answer_offset: float | None = None

    @property
    def fitted(self) -> dict[str, Any]:
        """The fitted values, which `qa.json` keeps."""
        return self.model_dump(exclude={"before", "after"})


class Candidates(NamedTuple):
    """The spans of many questions, in rows of one length that are filled up with scores of −∞."""

    scores: NDArray[np.float64]  # [questions, spans]
    is_answer: NDArray[np.bool_]  # [questions, spans]: whether it is the given answer
    right: NDArray[np.float64]  # [questions]: whether that one is right, NaN where unknown
    unanswerable: NDArray[np.float64]  # [questions]: whether to give no answer is right, NaN where unknown
    null_odds: NDArray[np.float64]  # [questions]: NaN where no answer is no candidate
    refused: NDArray[np.bool_]  # [questions]: whether no answer was given
    languages: NDArray[np.str_]  # [questions]: codes, "" where unknown

    def take(self, chosen: NDArray[np.bool_]) -> "Candidates":
        """The candidates of the chosen questions, bool [questions]."""
        columns: Iterable[Any] = self
        return Candidates(*(column[chosen] for column in columns))

    def probabilities(self, scales: Scales) -> NDArray[np.float64]:
        """The probabilities of the given answers, float64 [questions]."""
        general, by_language, line = scales
        temperature = np.array([by_language.get(name, general) for name in self.languages.tolist()], float)
        scaled = self.scores / temperature[:, None]
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        of_spans = np.minimum((weights * self.is_answer).sum(axis=1) / weights.sum(axis=1), 1.0)
        no_answer = np.nan_to_num(no_answer_probability(self.null_odds, line))
        return np.where(self.refused, no_answer, (1 - no_answer) * of_spans)


def calibrated(
    answered: Iterable[tuple[Question, Sequence[NBestAnswer]]], known: Scales | None = None, line: Line | None = None
) -> tuple[list[Question], Calibrated | None]:
    """Questions with the probabilities of their answers, and their worth; None where no answer is known.

    `answered`: questions, each with its candidates. Without `known` temperatures they are fitted with all questions and
    judged as `cross_fitted` does; a given `line` stays.
    """
    questions, softmax, spans = _candidates(answered)
    judged = ~np.isnan(spans.right)
    scales = known or _fit(spans, judged, line)
    probability = spans.probabilities(scales)
    scored = [q._replace(probability=p) for q, p in zip(questions, probability.tolist(), strict=True)]
    fair = probability if known else cross_fitted(questions, spans, line)
    before, after = (trust(some[judged], spans.right[judged]) for some in (softmax, fair))
    if before is None or after is None:
        return scored, None
    general, by_language, line = scales
    slope, offset = line if np.isfinite(spans.null_odds).any() else (None, None)
    fitted = {"temperature_by_language": by_language, "no_answer_slope": slope, "no_answer_offset": offset}
    return scored, Calibrated.model_validate({"before": before, "after": after, "temperature": general, **fitted})


def calibrate_evaluation(
    evaluation: Evaluation, known: Scales | None = None, line: Line | None = None
) -> tuple[Evaluation, Calibrated | None]:
    """An evaluation with the probabilities of its answers, and their worth: see `calibrated`."""
    answered = ((question, evaluation.answers[question.id]) for question in sorted(evaluation.questions))
    questions, worth = calibrated(answered, known, line)
    return evaluation._replace(questions=questions), worth


def cross_fitted(questions: Sequence[Question], spans: Candidates, line: Line | None = None) -> NDArray[np.float64]:
    """Probabilities, float64 [questions], at temperatures that do not know the question's half of the contexts."""
    judged, half = ~np.isnan(spans.right), in_first_half(questions)
    probability = np.zeros(len(questions))
    for part in (half, ~half):
        probability[part] = spans.take(part).probabilities(_fit(spans, judged & ~part, line))
    return probability


def _candidates(
    answered: Iterable[tuple[Question, Sequence[NBestAnswer]]],
) -> tuple[list[Question], NDArray[np.float64], Candidates]:
    """Questions, the softmax of each given answer's own place, float64 [questions], and all candidates as arrays."""
    questions: list[Question] = []
    sizes, is_answer, softmax, scores = array("q"), array("b"), array("d"), array("d")
    outcomes: list[tuple[float, float, float, bool]] = []
    for question, candidates in answered:
        questions.append(question)
        wanted = same_answer(question.prediction)
        softmax.append(next((c.probability for c in candidates if c.text == question.prediction), 0.0))
        spans = [candidate for candidate in candidates if candidate.text]
        sizes.append(max(len(spans), 1))
        scores.extend([span.score for span in spans] or [0.0])
        is_answer.extend([same_answer(span.text) == wanted for span in spans] or [False])
        exact = math.nan if question.exact_match is None else question.exact_match
        no_answer = math.nan if question.exact_match is None else float(question.is_unanswerable)
        may_refuse = len(spans) < len(candidates)
        difference = null_odds(candidates) if may_refuse else math.nan
        outcomes.append((exact, no_answer, difference, may_refuse and not question.prediction))
    places = np.arange(max(sizes, default=1)) < np.array(sizes, np.intp)[:, None]  # [questions, spans]
    rows, given = np.full(places.shape, -np.inf), np.zeros(places.shape, bool)
    rows[places], given[places] = np.array(scores), np.array(is_answer, bool)
    right, unanswerable, odds, refused = np.array(outcomes, float).reshape(-1, 4).T
    languages = np.array([question.language or "" for question in questions], np.str_)
    return questions, np.array(softmax), Candidates(rows, given, right, unanswerable, odds, refused > 0, languages)


def in_first_half(questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Whether a question's context is in the first half, bool [questions]; drawn by context."""
    contexts = {context: place for place, context in enumerate(sorted({q.context for q in questions}))}
    first = np.random.default_rng(HALVES).permutation(len(contexts)) % 2 == 0
    return np.array([first[contexts[question.context]] for question in questions], bool)


def _fit(spans: Candidates, chosen: NDArray[np.bool_], line: Line | None) -> Scales:
    """The temperatures of the `chosen` questions, bool [questions], by language where there are several; the line."""
    weighed = chosen & np.isfinite(spans.null_odds)
    if line is None:
        line = fit_line(spans.null_odds[weighed], spans.unanswerable[weighed]) if weighed.any() else UNFITTED
    answered = chosen & ~spans.refused
    general = fit_temperature(spans.take(answered), 1.0, line)
    names = sorted(set(spans.languages[chosen].tolist()))
    parts = {name: spans.take(answered & (spans.languages == name)) for name in names if name and len(names) > 1}
    return general, {name: fit_temperature(part, general, line) for name, part in parts.items()}, line


def fit_line(null_odds: NDArray[np.float64], unanswerable: NDArray[np.float64]) -> Line:
    """The most probable line of some questions, [questions] each; it is expected around that of softmax.

    Platt 1999, "Probabilistic outputs for support vector machines".
    """
    from scipy.optimize import minimize  # as below

    def cost(line: NDArray[np.float64]) -> float:
        probability = no_answer_probability(null_odds, (line[0], line[1])).clip(1e-6, 1 - 1e-6)
        likelihood = np.log(np.where(unanswerable > 0, probability, 1 - probability)).sum()
        return float(((line - np.array(UNFITTED)) ** 2).sum() / 2 - likelihood)

    slope, offset = minimize(cost, UNFITTED, method="Nelder-Mead").x
    return float(slope), float(offset)


def fit_temperature(spans: Candidates, expected: float, line: Line) -> float:
    """The most probable temperature of some questions; its ln is expected around that of `expected`, by SPREAD.

    The likelihood is that of the outcomes, right or wrong, under the probabilities of the given answers: a calibrated
    model's promise. (Guo et al. 2017 fit the likelihood of the right class, which here may be none of the candidates.)
    """
    from scipy.optimize import minimize_scalar  # slow to import, and only the end of a run needs it

    if not len(spans.right):
        return expected

    def cost(log: float) -> float:
        probability = spans.probabilities((math.exp(log), {}, line)).clip(1e-6, 1 - 1e-6)
        likelihood = np.log(np.where(spans.right > 0, probability, 1 - probability)).sum()
        return float(((log - math.log(expected)) / SPREAD) ** 2 / 2 - likelihood)

    best = minimize_scalar(cost, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return math.exp(best.x)
