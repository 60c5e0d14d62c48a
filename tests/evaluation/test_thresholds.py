"""SQuAD v2: scores, null odds and thresholds against loops from their definition."""

from collections.abc import Mapping
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import squad_v2
from qa.data.epochs.batches import EvaluationBatch
from qa.data.example import Example, ReferenceAnswer
from qa.evaluation.answers import Evaluation
from qa.evaluation.collect import EvaluatedBatch, collect, evaluate_batch
from qa.evaluation.metrics import v2_scores
from qa.evaluation.thresholds import best_threshold, kept_threshold
from qa.statistics.trust import outcomes, trust

TEXT = st.lists(st.sampled_from(["the", "A", "cat", "Cat's", "dog", "!", "北京"]), max_size=4).map(" ".join)
ODDS = st.one_of(st.sampled_from([-1.5, -0.5, 0.0, 0.5, 2.0]), st.floats(-20, 20))  # with ties
ROW = st.tuples(st.floats(0, 1), ODDS, st.booleans(), st.booleans())


@settings(deadline=None)
@given(TEXT, st.lists(TEXT, max_size=3))
def test_a_question_is_scored_as_officially(prediction: str, references: list[str]) -> None:
    assert v2_scores(prediction, references) == pytest.approx(squad_v2.scores(prediction, references))


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("", [], (1, 1)), ("the", [], (1, 1)), ("cat", [], (0, 0)), ("", ["cat"], (0, 0)),
        ("", ["the", "cat"], (0, 0)), ("", ["the"], (1, 1)), ("the cat", ["a", "cat dog"], (0, 2 / 3)),
    ],
)  # fmt: skip
def test_no_answer_is_right_where_there_is_none(
    prediction: str, references: list[str], expected: tuple[float, float]
) -> None:
    assert v2_scores(prediction, references) == pytest.approx(expected)


@settings(deadline=None, max_examples=300)
@given(st.lists(ROW, min_size=1, max_size=30))
def test_the_best_threshold_is_the_official_one_to_the_bit(rows: list[tuple[float, float, bool, bool]]) -> None:
    scores, odds, has_answer, has_span = map(list, zip(*rows, strict=True))
    assert best_threshold(scores, odds, has_answer, has_span) == squad_v2.best_threshold(
        scores, odds, has_answer, has_span
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=12), st.randoms())
def test_no_threshold_gives_more_than_the_best(rows: list[tuple[float, bool]], random: Random) -> None:
    """Every threshold is tried; no two questions have the same odds."""
    scores, has_answer = map(list, zip(*rows, strict=True))
    odds = [0.5 * place - 2 for place in range(len(rows))]
    random.shuffle(odds)
    tried = []
    for threshold in [*odds, -100.0]:
        points = [
            (score if known else 0) if own <= threshold else float(not known)
            for score, own, known in zip(scores, odds, has_answer, strict=True)
        ]
        tried.append(100 * sum(points) / len(points))
    assert best_threshold(scores, odds, has_answer, [True] * len(rows))[0] == pytest.approx(max(tried))


@settings(deadline=None, max_examples=300)
@given(st.lists(ROW, min_size=1, max_size=12))
def test_the_kept_threshold_gives_the_best_figure_that_any_gives(rows: list[tuple[float, float, bool, bool]]) -> None:
    """Also with questions of equal odds, and where no answer at all is best."""
    scores, odds, has_answer, has_span = map(list, zip(*rows, strict=True))

    def applied(threshold: float) -> float:
        given = [own <= threshold for own in odds]
        points = [
            (score if answered else 0) if known else float(not (answered and span))
            for score, known, span, answered in zip(scores, has_answer, has_span, given, strict=True)
        ]
        return 100 * sum(points) / len(points)

    kept = applied(kept_threshold(scores, odds, has_answer, has_span))
    assert kept == pytest.approx(max(map(applied, [*odds, min(odds) - 1])))
    official, _ = best_threshold(scores, odds, has_answer, has_span)
    assert kept == pytest.approx(official) or len(set(odds)) < len(odds)


def test_where_the_official_threshold_gives_its_figure_it_is_kept() -> None:
    assert kept_threshold([1, 0], [-2, 3], [True, False], [True, True]) == -2
    assert best_threshold([0, 0], [-1, -2], [False, False], [True, True]) == (100, 0)
    assert -2.001 < kept_threshold([0, 0], [-1, -2], [False, False], [True, True]) < -2
    assert kept_threshold([0], [1], [False], [True]) == 0


LENGTH, CONTEXT = 9, "b c d f g h j k l"  # a token is a word; of a window those of the positions 2 to 7
LOGIT = st.sampled_from([-1.0, -0.25, 0.0, 0.5, 1.25])
Window = tuple[int, int, list[float]]  # question, first token, logits of starts and of ends


@st.composite
def a_window(draw: st.DrawFn, question: st.SearchStrategy[int]) -> Window:
    """Its null score may be higher than that of any span."""
    starts, ends = (
        [draw(st.sampled_from([-1.0, 0.5, 2.0])), *draw(st.lists(LOGIT, min_size=LENGTH - 1, max_size=LENGTH - 1))]
        for _ in range(2)
    )
    return draw(question), draw(st.integers(0, 3)), [*starts, *ends]


EACH = st.tuples(*(a_window(st.just(question)) for question in range(4)))
MORE = st.lists(a_window(st.integers(0, 3)), max_size=5)
GOLD: dict[str, list[str]] = {"q0": ["c d f g"], "q1": [], "q2": ["d f g h j", "f"], "q3": []}


def parts_of(windows: list[Window], size: int = 3) -> list[EvaluatedBatch]:
    parts = []
    for begin in range(0, len(windows), size):
        some = windows[begin : begin + size]
        logits = torch.tensor([values for _, _, values in some]).reshape(len(some), 2, LENGTH)
        offsets = np.zeros((len(some), LENGTH, 2), np.int32)
        for row, (_, first, _) in enumerate(some):
            offsets[row, 2:8, 0] = 2 * (first + np.arange(6))
            offsets[row, 2:8, 1] = offsets[row, 2:8, 0] + 1
        mask = torch.zeros(len(some), LENGTH, dtype=torch.bool)
        mask[:, 2:8] = True
        batch = EvaluationBatch(
            rows=np.arange(begin, begin + len(some)), ids=[f"q{question}" for question, _, _ in some],
            context_mask=mask, offsets=offsets,
        )  # fmt: skip
        parts.append(evaluate_batch((logits[:, 0], logits[:, 1]), batch, torch.zeros(len(some)), 5, 4))
    return parts


def examples() -> dict[str, Example]:
    return {
        name: Example(
            id=name, question="?", context=CONTEXT, is_impossible=not texts,
            answers=tuple(ReferenceAnswer(text=text, answer_start=CONTEXT.index(text)) for text in texts),
        )
        for name, texts in GOLD.items()
    }  # fmt: skip


def restated(windows: list[Window]) -> tuple[dict[str, str], dict[str, float]]:
    """Each question's best span and its null odds, from all spans of all windows."""
    best: dict[str, tuple[float, int, int]] = {}
    null: dict[str, float] = {}
    for question, first, values in windows:
        name, starts, ends = f"q{question}", values[:LENGTH], values[LENGTH:]
        null[name] = min(null.get(name, 99.0), starts[0] + ends[0])
        for start in range(2, 8):
            for end in range(start, min(8, start + 4)):
                span = -(starts[start] + ends[end]), 2 * (first + start - 2), 2 * (first + end - 2) + 1
                best[name] = min(best.get(name, span), span)
    spans = {name: CONTEXT[begin:end] for name, (_, begin, end) in best.items()}
    return spans, {name: null[name] + negative for name, (negative, _, _) in best.items()}


@settings(deadline=None, max_examples=150)
@given(EACH, MORE, st.sampled_from([0.0, -0.75, -1.5]), st.integers(1, 3))
def test_an_evaluation_equals_loops_over_all_spans_of_all_windows(
    each: tuple[Window, ...], more: list[Window], threshold: float, ranks: int
) -> None:
    every = [*each, *more]
    spans, odds = restated(every)
    parts = parts_of(every)
    shared = [part for rank in range(ranks) for part in parts[rank::ranks]] + parts[:1]  # a rank repeats one
    found = collect(shared, examples(), 5, threshold)
    predictions = {name: "" if odds[name] > threshold else spans[name] for name in odds}
    assert found.null_odds == odds
    assert {question.id: question.prediction for question in found.questions} == predictions
    expected = squad_v2.figures(GOLD, predictions, spans, odds)
    figures = found.figures()
    kept = collect(shared, examples(), 5, figures.pop("kept_threshold")).figures()["f1"]
    assert kept == pytest.approx(expected["best_f1"]) or len(set(odds.values())) < len(odds)
    assert figures == pytest.approx({"val_loss": 0.0, **expected})
    check_candidates(found, predictions)
    if not threshold:
        assert predictions == {name: candidates[0].text for name, candidates in found.answers.items()}
    every_answer = collect(shared, examples(), 5)
    assert every_answer.null_odds is None
    assert {question.id: question.prediction for question in every_answer.questions} == spans
    assert set(every_answer.figures()) == {"val_loss", "exact_match", "f1"}


def check_candidates(found: Evaluation, predictions: Mapping[str, str]) -> None:
    """The null answer is one candidate more, at its rank; a question has the place and probability of what it got."""
    for question in found.questions:
        candidates = found.answers[question.id]
        assert [answer.score for answer in candidates] == sorted((a.score for a in candidates), reverse=True)
        assert sum(answer.probability for answer in candidates) == pytest.approx(1)
        [null] = [answer for answer in candidates if not answer.text]
        assert (null.start, null.end) == (0, 0)
        given = next(answer for answer in candidates if answer.text == predictions[question.id])
        assert question.probability == given.probability
        assert (question.start, question.end) == ((given.start, given.end) if given.text else (None, None))


def test_a_context_without_a_span_is_never_answered() -> None:
    [part] = parts_of([(0, 0, [1.0] * 2 * LENGTH)])
    empty = part._replace(spans=tuple(column[:0] for column in part.spans))  # type: ignore[arg-type]
    found = collect([empty], examples(), 5, 1e9)
    assert [question.prediction for question in found.questions] == [""]
    assert (found.null_odds or {})["q0"] > 1e9
    assert found.figures()["best_f1"] == 0.0


def test_logits_that_are_no_numbers_leave_odds_that_json_has() -> None:
    [part] = parts_of([(0, 0, [float("nan")] + [0.0] * 17)])
    assert np.isfinite(list((collect([part], examples(), 5, 0.0).null_odds or {}).values())).all()


def test_a_refusal_is_as_sure_as_its_null_answer() -> None:
    found = collect(parts_of([(1, 0, [9.0] + [0.0] * 8 + [9.0] + [0.0] * 8)]), examples(), 5, 0.0)
    figures = trust(*outcomes(found.questions))
    assert figures and figures.brier < 1e-3
