"""How probable an answer is to be right: its candidates added up, at a temperature that outcomes are fitted with."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from qa.evaluation.answers import NBestAnswer, Question
from qa.evaluation.calibration import Trust, trust
from qa.evaluation.metrics import normalize

LOWEST, HIGHEST = 0.1, 10.0  # temperatures
HALVES = 42  # the seed of the contexts' halves
SPREAD = 0.5  # of ln(temperature) around what is expected of it: the fewer the questions, the nearer it stays

Temperatures = tuple[float, Mapping[str, float]]  # of all questions, and of some languages


def same_answer(text: str) -> str | None:
    """What EM compares of an answer: equal for "the mill" and "Mill."; None for the null answer, "", alone."""
    return normalize(text) if text else None


def probabilities(texts: Sequence[str], scores: Sequence[float], temperature: float = 1.0) -> list[float]:
    """The probability of each candidate of a question, in their order.

    softmax(score / temperature), added up over the candidates that EM takes for the same answer, wherever they are:
    "1912" twice in a context, and "in 1912" beside "1912" only if they normalise alike.
    """
    scaled = np.array(scores, float) / temperature
    weights = np.exp(scaled - scaled.max(initial=-np.inf))
    sums: dict[str | None, float] = {}
    kinds = [same_answer(text) for text in texts]
    for kind, weight in zip(kinds, (weights / weights.sum()).tolist(), strict=True):
        sums[kind] = sums.get(kind, 0.0) + weight
    return [min(sums[kind], 1.0) for kind in kinds]


class Calibrated(BaseModel):
    """What the probabilities of an evaluation are worth; `before`: the plain softmax of the given answer's place."""

    before: Trust
    after: Trust
    temperature: float
    temperature_by_language: dict[str, float] = {}

    @property
    def fitted(self) -> dict[str, Any]:
        """What `qa.json` keeps."""
        return self.model_dump(include={"temperature", "temperature_by_language"})


class Candidates(NamedTuple):
    """The candidates of many questions, one question after the other."""

    begins: NDArray[np.intp]  # [questions]: the first candidate of each
    scores: NDArray[np.float64]  # [candidates]
    given: NDArray[np.bool_]  # [candidates]: whether it is the answer that was given
    right: NDArray[np.float64]  # [questions]: whether that one is right, NaN where nobody knows

    @property
    def sizes(self) -> NDArray[np.intp]:
        """How many candidates each question has, [questions]."""
        return np.diff(self.begins, append=len(self.scores))

    def take(self, chosen: NDArray[np.bool_]) -> "Candidates":
        """Those of some questions, bool [questions]."""
        sizes, kept = self.sizes[chosen], np.repeat(chosen, self.sizes)
        return Candidates(np.cumsum(sizes) - sizes, self.scores[kept], self.given[kept], self.right[chosen])

    def probabilities(self, temperature: ArrayLike) -> NDArray[np.float64]:
        """Those of the given answers, float64 [questions]; `temperature`: one, or one for each question."""
        scaled = self.scores / np.repeat(np.broadcast_to(temperature, self.begins.shape), self.sizes)
        weights = np.exp(scaled - np.repeat(np.maximum.reduceat(scaled, self.begins), self.sizes))
        mine = np.add.reduceat(weights * self.given, self.begins)
        return np.minimum(mine / np.add.reduceat(weights, self.begins), 1.0)


def calibrated(
    answered: Iterable[tuple[Question, Sequence[NBestAnswer]]], known: Temperatures | None = None
) -> tuple[list[Question], Calibrated | None]:
    """Questions with the probabilities of their answers, and what those are worth; None where no answer is known.

    `answered`: questions, each with its candidates. Without `known` temperatures they are fitted with all questions and
    judged as `cross_fitted` does.
    """
    questions, softmax, found = _candidates(answered)
    languages = np.array([question.language or "" for question in questions])
    judged = ~np.isnan(found.right)
    made = known or _fit(found, languages, judged)
    probability = found.probabilities(_each(made, languages))
    scored = [q._replace(probability=p) for q, p in zip(questions, probability.tolist(), strict=True)]
    before = trust(softmax[judged], found.right[judged])
    after = trust((probability if known else cross_fitted(questions, found))[judged], found.right[judged])
    if before is None or after is None:
        return scored, None
    return scored, Calibrated(before=before, after=after, temperature=made[0], temperature_by_language=made[1])


def cross_fitted(questions: Sequence[Question], found: Candidates) -> NDArray[np.float64]:
    """Probabilities, float64 [questions], at temperatures that do not know the question's half of the contexts."""
    languages = np.array([question.language or "" for question in questions])
    judged, half = ~np.isnan(found.right), in_first_half(questions)
    probability = np.zeros(len(questions))
    for part in (half, ~half):
        fitted = _fit(found, languages, judged & ~part)
        probability[part] = found.take(part).probabilities(_each(fitted, languages[part]))
    return probability


def _candidates(
    answered: Iterable[tuple[Question, Sequence[NBestAnswer]]],
) -> tuple[list[Question], NDArray[np.float64], Candidates]:
    """All of them as arrays, and the softmax of each given answer's own place, float64 [questions]."""
    questions: list[Question] = []
    begins, given = array("q"), array("b")
    scores, right, softmax = array("d"), array("d"), array("d")
    for question, candidates in answered:
        questions.append(question)
        begins.append(len(scores))
        wanted = same_answer(question.prediction)
        softmax.append(next((c.probability for c in candidates if c.text == question.prediction), 0.0))
        right.append(math.nan if question.exact_match is None else question.exact_match)
        scores.extend([candidate.score for candidate in candidates] or [0.0])
        given.extend([same_answer(candidate.text) == wanted for candidate in candidates] or [False])
    found = Candidates(np.array(begins, np.intp), np.array(scores), np.array(given, bool), np.array(right))
    return questions, np.array(softmax), found


def in_first_half(questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Whether a question's context is in the first half, bool [questions]; drawn by context."""
    contexts = {context: place for place, context in enumerate(sorted({q.context for q in questions}))}
    first = np.random.default_rng(HALVES).permutation(len(contexts)) % 2 == 0
    return np.array([first[contexts[question.context]] for question in questions], bool)


def _fit(found: Candidates, languages: NDArray[np.str_], chosen: NDArray[np.bool_]) -> Temperatures:
    """The temperatures of the `chosen` questions, bool [questions]; by language where there are several."""
    general = fit_temperature(found.take(chosen), 1.0)
    names = sorted(set(languages[chosen].tolist()))
    parts = {name: found.take(chosen & (languages == name)) for name in names if name and len(names) > 1}
    return general, {name: fit_temperature(part, general) for name, part in parts.items()}


def fit_temperature(found: Candidates, expected: float) -> float:
    """The most probable temperature of some questions, whose ln is expected around that of `expected`, by SPREAD.

    The likelihood is that of the outcomes, right or wrong, under the probabilities of the given answers: a calibrated
    model's promise. (Guo et al. 2017 fit the likelihood of the right class, which here may be none of the candidates.)
    """
    from scipy.optimize import minimize_scalar  # slow to import, and only the end of a run needs it

    if not len(found.begins):
        return expected

    def cost(log: float) -> float:
        probability = found.probabilities(math.exp(log)).clip(1e-6, 1 - 1e-6)
        likelihood = np.log(np.where(found.right > 0, probability, 1 - probability)).sum()
        return float(((log - math.log(expected)) / SPREAD) ** 2 / 2 - likelihood)

    best = minimize_scalar(cost, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return math.exp(best.x)


def _each(temperatures: Temperatures, languages: NDArray[np.str_]) -> NDArray[np.float64]:
    """The temperature of each question, float64 [questions]."""
    general, by_language = temperatures
    return np.array([by_language.get(name, general) for name in languages.tolist()], float)
