"""The decoder against one that tries every span."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qa.evaluation.answers import NBestAnswer
from qa.evaluation.decode import WindowSpans, decode, window_spans

Case = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@st.composite
def logits(draw: st.DrawFn) -> Case:
    """Logits [batch, length] of few distinct values, so that there are ties, and a context somewhere in each row."""
    batch, length = draw(st.integers(1, 4)), draw(st.integers(3, 24))
    values = st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0]), min_size=length, max_size=length)
    start = torch.tensor([draw(values) for _ in range(batch)])
    end = torch.tensor([draw(values) for _ in range(batch)])
    mask = torch.zeros(batch, length, dtype=torch.bool)
    for row in range(batch):
        first = draw(st.integers(1, length - 1))
        mask[row, first : draw(st.integers(first, length - 1))] = True
    return start, end, mask


def answers(spans: list[tuple[float, int, int]], context: str, n_best: int) -> list[NBestAnswer]:
    """The answers to one question of one window, whose spans are (score, start, end)."""
    scores, starts, ends = (np.array(column) for column in zip(*spans, strict=True))
    window = np.zeros(len(spans), np.int64), starts, ends, scores.astype(np.float32)
    return decode([(["x"], window)], {"x": context}, n_best)["x"]


def every_span(case: Case, row: int, n_best: int, longest: int) -> list[tuple[int, int, float]]:
    start, end, mask = (tensor[row].tolist() for tensor in case)
    spans = [
        (s, e, start[s] + end[e])
        for s in range(len(start))
        for e in range(s, min(len(start), s + longest))
        if mask[s] and mask[e]
    ]
    return sorted(spans, key=lambda span: (-span[2], span[0], span[1]))[:n_best]


@settings(deadline=None, max_examples=300)
@given(logits(), st.integers(1, 12), st.integers(1, 30))
def test_spans_equal_brute_force(case: Case, n_best: int, longest: int) -> None:
    rows, starts, ends, scores = (a.tolist() for a in window_spans(*case, n_best, longest))
    found = list(zip(rows, starts, ends, scores, strict=True))
    expected = [(row, *span) for row in range(len(case[0])) for span in every_span(case, row, n_best, longest)]
    assert found == expected


@settings(deadline=None, max_examples=200)
@given(st.lists(logits(), min_size=1, max_size=3), st.integers(1, 8), st.integers(1, 10))
def test_answers_equal_brute_force_over_all_windows(windows: list[Case], n_best: int, longest: int) -> None:
    """Each logits row is a window of the same context, beginning one character later than the one before."""
    context = "".join(chr(ord("a") + n % 26) for n in range(200))
    parts: list[tuple[list[str], WindowSpans]] = []
    every: dict[tuple[int, int], float] = {}
    shift = 0
    for case in windows:
        batch, length = case[0].shape
        offsets = np.array(
            [[(shift + r + p, shift + r + p + 1) for p in range(length)] for r in range(batch)], np.int32
        )
        rows, starts, ends, scores = window_spans(*case, n_best, longest)
        parts.append((["x"] * batch, (rows, offsets[rows, starts, 0], offsets[rows, ends, 1], scores)))
        for row in range(batch):
            for s, e, score in every_span(case, row, 10**6, longest):
                key = shift + row + s, shift + row + e + 1
                every[key] = max(score, every.get(key, -math.inf))
        shift += batch
    expected = sorted(((-score, *key) for key, score in every.items()))[:n_best]
    found = decode(parts, {"x": context}, n_best)["x"]
    assert [(-a.score, a.start, a.end) for a in found] == expected
    assert [a.text for a in found] == [context[s:e] for _, s, e in expected]
    total = sum(math.exp(-score) for score, *_ in expected)
    assert [a.probability for a in found] == pytest.approx([math.exp(-score) / total for score, *_ in expected])


def test_a_logit_that_is_no_number_is_in_no_span() -> None:
    """A NaN at one position takes part in no span; the other spans are those that there are without the position."""
    torch.manual_seed(0)
    start, end, mask = torch.randn(3, 30), torch.randn(3, 30), torch.ones(3, 30, dtype=torch.bool)
    without_start, without_end = start.clone(), end.clone()
    start[0, [3, 7]], end[0, 20], start[1], end[2] = math.nan, -math.nan, math.nan, math.nan
    without_start[start.isnan()], without_end[end.isnan()] = -math.inf, -math.inf
    found = window_spans(start, end, mask, 20, 8)
    assert all(map(np.array_equal, found, window_spans(without_start, without_end, mask, 20, 8)))
    assert np.bincount(found[0]).tolist() == [20]


def test_the_order_of_windows_does_not_matter() -> None:
    spans = [(1.0, 5, 9), (1.0, 5, 7), (2.0, 0, 3), (0.5, 0, 3), (1.0, 2, 9)]
    assert answers(spans, "0123456789", 9) == answers(spans[::-1], "0123456789", 9)
    assert [(a.start, a.end) for a in answers(spans, "0123456789", 9)] == [(0, 3), (2, 9), (5, 7), (5, 9)]


def test_the_text_is_cut_from_the_context() -> None:
    context = "Der  Bürger\u200b Ångström\r\nkam."
    [answer] = answers([(1.0, 5, 21)], context, 1)
    assert answer == NBestAnswer(text="Bürger\u200b Ångström", score=1.0, probability=1.0, start=5, end=21)


def test_white_space_around_an_answer_makes_no_other_answer() -> None:
    spans = [(3.0, 2, 3), (2.0, 2, 8), (1.0, 3, 7)]  # " ", " 1812 " and "1812"
    [answer] = answers(spans, "in 1812 .", 5)
    assert answer == NBestAnswer(text="1812", score=2.0, probability=1.0, start=3, end=7)


def test_half_precision_logits_are_added_in_float32() -> None:
    start, end = torch.tensor([[0.0, 256.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.5]])
    mask = torch.tensor([[False, True, True]])
    score = window_spans(start.bfloat16(), end.bfloat16(), mask, 2, 30)[3]
    assert score.tolist() == [257.5, 257.0]


def test_a_context_without_a_token_gives_no_answer() -> None:
    mask = torch.zeros(1, 5, dtype=torch.bool)
    spans = window_spans(torch.zeros(1, 5), torch.zeros(1, 5), mask, 3, 4)
    assert dict(decode([(["x"], spans)], {"x": "", "y": "never seen"}, 3)) == {"x": [], "y": []}
    assert dict(decode([], {}, 3)) == {}


def test_probabilities_of_large_scores_are_numbers() -> None:
    found = answers([(1e4, 0, 3), (1e4 - 1, 4, 7)], "one two", 5)
    assert [answer.probability for answer in found] == pytest.approx([0.7310586, 0.2689414])
