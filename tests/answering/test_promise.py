"""`max_error`: of the answers given, no larger share is wrong than was promised, or nothing is promised."""

import numpy as np
import pytest

from qa.answering.options import Options
from qa.answering.promise import error_bounds, least_probability, with_promise
from qa.errors import UserError
from qa.evaluation.answers import Question
from qa.model.answering import Answering, ErrorBound


def questions(rng: np.random.Generator, count: int, texts: int | None = None) -> list[Question]:
    """Questions, five on each text, on which a model is sure or right together; its probabilities are too high."""
    text, alike = np.arange(count) // (count // texts if texts else 5), 0.3
    mood = rng.normal(size=text[-1] + 1)[text] * alike**0.5 + rng.normal(size=count) * (1 - alike) ** 0.5
    said = 1 / (1 + np.exp(-1.5 * mood - 1))
    luck = rng.normal(size=text[-1] + 1)[text] * alike**0.5 + rng.normal(size=count) * (1 - alike) ** 0.5
    right = luck < mood - 0.2
    return [
        Question(
            str(row), "?", f"text {t}", None, ["a"], [None], "a" if ok else "b", 0, 1, float(p), float(ok),
            float(ok), None,
        )
        for row, (t, p, ok) in enumerate(zip(text.tolist(), said.tolist(), right.tolist(), strict=True))
    ]  # fmt: skip


@pytest.mark.guarantee("Of the answers that max_error lets pass no larger share is wrong, in 95% of calibrations")
@pytest.mark.parametrize("max_error", [0.1, 0.2, 0.3])
def test_the_promise_holds_in_95_percent_of_calibrations(max_error: float) -> None:
    rng, broken, answered, promises = np.random.default_rng(1), 0, [], 0
    future = questions(rng, 20_000)
    probability = np.array([question.probability for question in future], float)
    right = np.array([question.exact_match for question in future], float)
    for _ in range(200):
        try:
            least = least_probability(error_bounds(questions(rng, 800)), max_error)
        except UserError:
            continue
        given = probability >= least
        promises += 1
        answered.append(given.mean())
        broken += 1 - right[given].mean() > max_error
    assert broken <= 10
    # and it is no empty promise: who knew all could give 14%, 32% and 49%
    assert promises >= {0.1: 20, 0.2: 150, 0.3: 190}[max_error]
    assert np.mean(answered) > {0.1: 0.08, 0.2: 0.15, 0.3: 0.3}[max_error]


@pytest.mark.parametrize(("count", "texts"), [(300, 12), (1000, 20), (100, 100)])
def test_the_promise_holds_with_few_texts_or_few_questions(count: int, texts: int) -> None:
    rng, broken = np.random.default_rng(2), 0
    future = questions(rng, 20_000)
    for _ in range(100):
        some = questions(rng, count, texts=texts)
        try:
            least = least_probability(error_bounds(some), 0.3)
        except UserError:
            continue
        given = [question for question in future if (question.probability or 0) >= least]
        broken += bool(1 - np.mean([question.exact_match for question in given]) > 0.3)
    assert broken <= 8


def test_what_is_not_promised_is_refused_with_what_would_be_enough() -> None:
    with pytest.raises(UserError, match="nothing is promised for this model"):
        least_probability([], 0.1)
    bounds = [
        ErrorBound(probability=0.9, answers=60, answered=0.1, wrong=0.05, wrong_at_most=0.15),
        ErrorBound(probability=0.5, answers=400, answered=1.0, wrong=0.4, wrong_at_most=0.5),
    ]
    assert [least_probability(bounds, error) for error in (0.15, 0.49, 0.5)] == [0.9, 0.9, 0.5]
    seen = r"of its 60 surest answers 5\.0% were wrong, which leaves 15\.0% possible"
    with pytest.raises(UserError, match=f"max_error=0.1: .* {seen}; about 4 times as many questions may"):
        least_probability(bounds, 0.1)
    # so few answers decide nothing about 0.05
    with pytest.raises(UserError, match=r"of its 400 surest answers 40\.0% were wrong, .*; nor would more questions"):
        least_probability(bounds, 0.05)
    answering = Answering(error_bounds=bounds)
    assert with_promise(Options(max_error=0.2), answering, [1, 1]).min_probability == 0.9
    assert with_promise(Options(max_error=0.5, min_probability=0.7), answering, [1]).min_probability == 0.7
    with pytest.raises(UserError, match="promised for questions over one text"):
        with_promise(Options(max_error=0.2), answering, [1, 2])
    with pytest.raises(UserError, match="leave whole_words out"):
        with_promise(Options(max_error=0.2, whole_words=True), answering, [1])
    answering = Answering(error_bounds=bounds, temperature_by_language={"de": 1.0, "eng": 2.0})
    assert with_promise(Options(max_error=0.2, language="deu"), answering, [1]).min_probability == 0.9
    with pytest.raises(UserError, match="give language, one of de, en"):
        with_promise(Options(max_error=0.2), answering, [1])


def test_answers_that_are_all_right_or_all_wrong_are_bounded_too() -> None:
    rng = np.random.default_rng(0)
    some = questions(rng, 500)
    right, wrong = ([q._replace(exact_match=value, f1=value) for q in some] for value in (1.0, 0.0))
    assert 0 < error_bounds(right)[-1].wrong_at_most < 0.06
    assert error_bounds(questions(rng, 300, texts=5)) == []  # of so few texts nothing is known
    assert error_bounds(wrong)[-1].wrong_at_most == 1.0
    assert error_bounds([]) == []
