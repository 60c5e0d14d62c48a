"""Probabilities: equal answers add up, temperatures are found again, nothing is judged by what was fitted with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.questions import question
from qa.evaluation.answers import NBestAnswer, Question
from qa.statistics.calibration import UNFITTED, Scales, _candidates, calibrated, cross_fitted, probabilities
from qa.statistics.trust import calibration, chance, outcomes, risk_coverage, trust

Answered = list[tuple[Question, Sequence[NBestAnswer]]]
WORDS = ("the mill", "Mill.", "1912", "in 1912", "", "a", "The")


def softmax(scores: Any) -> Any:
    weights = np.exp(np.array(scores) - np.max(scores))
    return weights / weights.sum()


def drawn(count: int, temperature: float, language: str | None = None, seed: int = 0) -> Answered:
    """Questions whose right candidate is drawn by the softmax of scores / temperature; two on each context."""
    generator = np.random.default_rng(seed)
    found: Answered = []
    for number in range(count):
        scores = -np.sort(-generator.normal(0, 3, 20))
        right = generator.choice(20, p=softmax(scores / temperature))
        pairs = zip(scores.tolist(), softmax(scores).tolist(), strict=True)
        candidates = [NBestAnswer(f"w{place}", score, p, 0, 2) for place, (score, p) in enumerate(pairs)]
        context = f"w{right} w0 {number // 2} {language}"
        asked = question(f"{language}{number}", f"w{right}", "w0", context=context, language=language)
        found.append((asked, candidates))
    return found


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.floats(-30, 30)), min_size=1, max_size=30), st.floats(0.2, 5))
def test_equal_answers_share_the_sum_of_their_softmax(pairs: list[tuple[str, float]], temperature: float) -> None:
    texts, scores = [text for text, _ in pairs], [score for _, score in pairs]
    plain = softmax(np.array(scores) / temperature)
    groups = [{"the mill", "Mill."}, {"1912"}, {"in 1912"}, {""}, {"a", "The"}]
    for text, found in zip(texts, probabilities(texts, scores, temperature), strict=True):
        [group] = [group for group in groups if text in group]
        expected = sum(p for p, other in zip(plain, texts, strict=True) if other in group)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_outcomes_is_found(temperature: float) -> None:
    questions, found = calibrated(drawn(3000, temperature))
    assert found and found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.after.ece <= found.after.ece_chance
    assert found.after.ece < found.before.ece or temperature == 1
    assert [q.probability for q in calibrated(drawn(3000, temperature), (found.temperature, {}, UNFITTED))[0]] == [
        q.probability for q in questions
    ]


def with_null(count: int, slope: float, offset: float) -> Answered:
    """Questions of SQuAD v2 whose answers are missing as often as the line says, at a threshold of 0."""
    generator = np.random.default_rng(1)
    found: Answered = []
    for asked, answers in drawn(count, 1.0):
        odds = generator.normal(0, 3)
        null = NBestAnswer("", answers[0].score + odds, 0.0, 0, 0)
        prediction = "" if odds > 0 else answers[0].text
        missing = generator.random() < 1 / (1 + np.exp(-slope * odds - offset))
        references = [] if missing else asked.answers
        right = float(prediction == "") if missing else float(prediction in references)
        row = asked._replace(answers=references, prediction=prediction, exact_match=right)
        found.append((row, sorted([*answers, null], key=lambda answer: -answer.score)))
    return found


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)])
def test_a_refusal_is_as_probable_as_its_null_odds_say(slope: float, offset: float) -> None:
    answered = with_null(3000, slope, offset)
    questions, found = calibrated(answered)
    assert found and found.no_answer_slope == pytest.approx(slope, rel=0.15)
    assert found.no_answer_offset == pytest.approx(offset, abs=0.25)
    assert found.temperature == pytest.approx(1, rel=0.15)
    for kind in (True, False):  # refusals, and answers, which are right only if there is one
        part = [question for question in questions if bool(question.prediction) == kind]
        worth = trust(*outcomes(part))
        assert worth and worth.ece <= worth.ece_chance
    assert calibrated(drawn(50, 1.0))[1].no_answer_slope is None  # type: ignore[union-attr]


def test_few_questions_move_a_temperature_little() -> None:
    always_right = [(asked._replace(exact_match=1.0), answers) for asked, answers in drawn(6, 1.0)]
    _, found = calibrated(always_right)
    assert found and 0.4 < found.temperature < 1
    assert calibrated([]) == ([], None)


def test_a_language_has_a_temperature_of_its_own() -> None:
    both = [*drawn(1500, 0.6, "en"), *drawn(1500, 2.0, "de", seed=1)]
    _, found = calibrated(both)
    assert found and list(found.temperature_by_language) == ["de", "en"]
    assert found.temperature_by_language["de"] == pytest.approx(2.0, rel=0.1)
    assert found.temperature_by_language["en"] == pytest.approx(0.6, rel=0.1)
    assert 0.6 < found.temperature < 2
    known: Scales = (9.0, {"en": 0.6}, UNFITTED)
    scored, _ = calibrated(both, known)
    for (asked, answers), later in zip(both, scored, strict=True):
        expected = probabilities(
            [a.text for a in answers], [a.score for a in answers], known[1].get(asked.language or "", 9)
        )
        assert later.probability == pytest.approx(expected[0], abs=1e-12)


def test_no_question_is_judged_by_a_temperature_that_its_context_was_fitted_with() -> None:
    answered = drawn(200, 1.5)
    questions, _, found = _candidates(answered)
    before = cross_fitted(questions, found)
    assert calibrated(answered)[1].after == trust(before, found.right)  # type: ignore[union-attr]
    for asked, _ in answered[::20]:
        other = [
            (q._replace(exact_match=1 - (q.exact_match or 0)) if q.context == asked.context else q, answers)
            for q, answers in answered
        ]
        after = cross_fitted(questions, _candidates(other)[2])
        place = [question.id for question in questions].index(asked.id)
        assert after[place] == before[place]
        assert (after != before).any()


def test_a_question_without_candidates_has_no_chance_and_unknown_answers_no_figures() -> None:
    empty: tuple[Question, Sequence[NBestAnswer]] = (question("empty", "a", "", context="a"), [])
    scored, found = calibrated([*drawn(20, 1), empty])
    assert scored[-1].probability == 0 and found and found.after.questions == 21
    asked = [(q._replace(exact_match=None), answers) for q, answers in drawn(5, 1)]
    scored, found = calibrated(asked)
    assert found is None and all(q.probability for q in scored)


def test_figures_are_their_definitions() -> None:
    generator = np.random.default_rng(3)
    p = generator.integers(0, 12, 60) / 12  # with equal ones
    right = (generator.random(60) < p).astype(float)
    found = trust(p, right)
    assert found
    good, bad = p[right == 1], p[right == 0]
    pairs = [1.0 if g > b else 0.5 if g == b else 0.0 for g in good for b in bad]
    assert found.auroc == pytest.approx(np.mean(pairs))
    assert found.macro_ce == pytest.approx(((1 - good).mean() + bad.mean()) / 2)
    assert found.brier == pytest.approx(np.mean((p - right) ** 2))
    shares = {n: np.mean(right[np.argsort(-p, kind="stable")][:n]) for n in range(1, 61)}
    whole = [n for n in shares if n == 60 or np.sort(-p)[n - 1] != np.sort(-p)[n]]  # where equal ones end
    assert found.coverage_80 == max((n for n in whole if shares[n] >= 0.8), default=0) / 60
    coverage, risk = risk_coverage(p, right)
    assert (60 * coverage).round().tolist() == whole
    assert risk == pytest.approx([1 - shares[n] for n in whole])
    assert min(risk) <= found.aurc <= max(risk)
    perfect = trust(np.array([0.9, 0.8, 0.2]), np.array([1.0, 1.0, 0.0]))
    assert perfect and (perfect.auroc, perfect.coverage_90) == (1, 2 / 3)
    sure = trust(np.ones(3), np.ones(3))
    assert sure and (sure.auroc, sure.macro_ce, sure.ece, sure.aurc, sure.coverage_90) == (None, None, 0, 0, 1)


def test_the_calibration_error_is_the_distance_from_what_was_promised() -> None:
    half = [question(str(n), "a", "a", probability=0.75, exact_match=float(n % 2)) for n in range(8)]
    sure = [question(str(n), "a", "a", probability=1.0) for n in range(8)]
    for questions, error in ((half, 0.25), (half + sure, 0.125)):
        assert calibration(*outcomes(questions)).error == pytest.approx(error)
    assert trust(*outcomes([question("a", "a", "a", probability=None)])) is None


@pytest.mark.parametrize("count", [100, 550])
def test_a_calibrated_model_is_above_what_chance_makes_of_it_as_often_as_it_says(count: int) -> None:
    generator, above = np.random.default_rng(0), 0
    for _ in range(200):
        promised = generator.random(count)
        found = calibration(promised, (generator.random(count) < promised).astype(float))
        assert found.error > 0
        above += found.error > chance(promised)
    assert 0 < above <= 12  # of 200 some 5
