"""Intervals and tests: they hold what they promise, over questions that go together and over seeds."""

import resource
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.questions import question
from qa.statistics.intervals import Clusters, Scores, bounds, clusters, difference, p_value, proportion, spread
from qa.statistics.significance import DRAWS, holm, sign_flips

Generator = np.random.Generator


def drawn(generator: Generator, count: int, size: int) -> Clusters:
    """Clusters of about `size` questions."""
    sizes = generator.poisson(size - 1, count) + 1
    return Clusters("articles", np.repeat(np.arange(count), sizes), sizes)


def system(generator: Generator, by: Clusters, hard: Scores, seeds: int, deviation: float) -> Scores:
    """Right or wrong, [seeds, questions]: a run may be better than another, and likes some clusters more."""
    shifts = generator.normal(0, deviation, (seeds, 1)) + generator.normal(0, 0.1, (seeds, len(by.sizes)))[:, by.row]
    right: Scores = (generator.random((seeds, len(by.row))) < np.clip(hard + shifts, 0, 1)).astype(float)
    return right


Deviations = tuple[float, float]  # of the seeds of each system


def covered(
    count: int, size: int, seeds: tuple[int, int], deviations: Deviations, repetitions: int
) -> tuple[float, float]:
    """How often two identical recipes' intervals hold 0: over seeds and questions, over questions alone.

    What is not covered is called different, in the same share of the cases.
    """
    generator = np.random.default_rng(1)
    held = np.zeros(2)
    for _ in range(repetitions):
        by = drawn(generator, count, size)
        hard = 0.6 + generator.normal(0, 0.25, count)[by.row] + generator.normal(0, 0.3, len(by.row))
        one, other = (system(generator, by, hard, *each) for each in zip(seeds, deviations, strict=True))
        for kind, over_seeds in enumerate((True, False)):
            apart = spread([one, -other], by, over_seeds)
            (_, low, high), p = difference(apart, by), p_value(apart, by)
            assert low is not None and high is not None and p is not None
            assert (low <= 0 <= high) == (p >= 0.05)
            held[kind] += low <= 0 <= high
    both, alone = held / repetitions
    return float(both), float(alone)


SIZES = ((240, 5), (48, 25), (10, 20))  # articles, questions of each
EVEN, UNEVEN = ((2, 2), (3, 3), (5, 5)), ((2, 5), (2, 10), (3, 5), (3, 10))  # seeds


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [*EVEN, *UNEVEN[:2]])
def test_an_interval_over_seeds_and_questions_holds_the_truth_as_often_as_it_says(seeds: tuple[int, int]) -> None:
    both, alone = covered(48, 25, seeds, (0.05, 0.05), repetitions=800)
    assert 0.95 <= both <= 0.995
    assert alone < 0.85


@pytest.mark.long
@pytest.mark.guarantee("Two identical recipes are called different in at most 5% of simulated experiments")
@pytest.mark.parametrize("deviations", [(0.05, 0.05), (0.05, 0), (0, 0.05), (0.03, 0.03), (0.01, 0.01), (0, 0)])
@pytest.mark.parametrize("seeds", [*EVEN, *UNEVEN])
@pytest.mark.parametrize(("count", "size"), SIZES)
def test_the_same_in_more_cells(count: int, size: int, seeds: tuple[int, int], deviations: Deviations) -> None:
    """Where seeds make little difference it promises less than it holds: that must be learned from few seeds."""
    both, _ = covered(count, size, seeds, deviations, repetitions=1000)
    assert both >= 0.94  # a share of 1,000 cases: 95% with a standard deviation of 0.7 points


def test_two_identical_recipes_are_called_different_in_at_most_one_of_twenty_cases() -> None:
    """110 contexts of 5 questions, two seeds each, whose EM has a standard deviation of 5 points over seeds."""
    both, alone = covered(110, 5, (2, 2), (0.05, 0.05), repetitions=400)
    assert both >= 0.95
    assert alone < 0.65


@pytest.mark.parametrize(("count", "size", "mean"), [(240, 5, 0.85), (48, 5, 0.97), (48, 25, 0.5), (20, 5, 0.97)])
def test_the_interval_of_one_run_holds_near_the_ends_too(count: int, size: int, mean: float) -> None:
    generator, held = np.random.default_rng(0), 0
    for _ in range(1000):
        by = drawn(generator, count, size)
        hard = generator.beta(4 * mean, 4 * (1 - mean), count)[by.row]  # correlation 0.2 within a cluster
        _, low, high = proportion((generator.random((1, len(by.row))) < hard).astype(float), by)
        assert low is not None and high is not None and 0 <= low < high <= 1
        held += low <= mean <= high
    assert 0.92 <= held / 1000 <= 0.98


@given(st.sampled_from([0.0, 1.0]), st.integers(10, 60))
def test_all_wrong_or_all_right_is_not_certain(value: float, count: int) -> None:
    by = Clusters("articles", np.arange(count), np.ones(count, int))
    mean, low, high = proportion(np.full((1, count), value), by)
    assert mean == value
    assert low is not None and high is not None
    assert 0.05 < high - low < 0.4  # of 40 questions, 0 right: up to 9 percent


def test_few_clusters_have_no_interval() -> None:
    by = Clusters("articles", np.repeat(np.arange(9), 100), np.full(9, 100))
    scores = (np.arange(900) % 3 == 0).astype(float)[None]
    assert bounds(*proportion(scores, by)[1:]) == "–"
    found = spread([scores, -scores[:, ::-1]], by)
    assert (difference(found, by).low, p_value(found, by)) == (None, None)


def test_the_same_scores_in_another_order_have_no_interval_of_zero_width() -> None:
    by = Clusters("articles", np.repeat(np.arange(12), 3), np.full(12, 3))
    one = np.random.default_rng(0).random((3, 36))
    for over_seeds in (True, False):
        found = difference(spread([one, -one[[2, 0, 1]]], by, over_seeds), by)
        assert found.low is None or found.low < -1e-6 < 1e-6 < (found.high or 0)


def test_two_levels_agree_with_the_formula_of_equal_cells() -> None:
    """V = Vq + Vs - Vqs from the mean squares of a two-way layout of seeds and equal clusters."""
    generator = np.random.default_rng(3)
    seeds, count = 4, 12
    shapes = ((seeds, 1), (1, count), (seeds, count))
    cells = np.sum([np.broadcast_to(generator.normal(size=shape), (seeds, count)) for shape in shapes], axis=0)
    by = Clusters("articles", np.repeat(np.arange(count), 2), np.full(count, 2))
    found = spread([np.repeat(cells, 2, axis=1)], by)
    of_seeds, of_clusters = cells.mean(1).var(ddof=1) / seeds, cells.mean(0).var(ddof=1) / count
    rest = cells - cells.mean(1, keepdims=True) - cells.mean(0, keepdims=True) + cells.mean()
    both = (rest**2).sum() / ((seeds - 1) * (count - 1)) / (seeds * count)
    assert found.mean == pytest.approx(cells.mean())
    assert found.variance == pytest.approx(of_seeds + of_clusters - both)
    assert found.freedom == pytest.approx(found.variance**2 / (of_seeds**2 / 3 + of_clusters**2 / 11))


def test_clusters_are_articles_where_titles_say_so() -> None:
    def named(*titles: str | None) -> str:
        found = [question(str(n), "a", "b", context=f"a is not b {n}", title=title) for n, title in enumerate(titles)]
        return str(clusters(found))

    assert named("x", "x", "y") == "2 articles"
    assert named("x", "x", "x") == "3 paragraphs"  # one title for all says nothing
    assert named("x", "y", None) == "3 paragraphs"
    own = [question(str(n), "a", "b", context="a is not b", title=str(n)) for n in range(3)]
    assert str(clusters(own)) == "1 paragraph"  # a title for each question is none


def test_flips_are_all_there_are_where_they_are_few_and_never_give_zero() -> None:
    by = Clusters("articles", np.repeat(np.arange(6), 20), np.full(6, 20))
    assert sign_flips(np.ones((1, 120)), by) == ([2 / 64], 2 / 64)
    many = Clusters("articles", np.arange(40), np.ones(40, int))
    found, least = sign_flips(np.stack([np.ones(40), np.zeros(40)]), many)
    assert found == [1 / (DRAWS + 1), 1.0] and least == 1 / (DRAWS + 1)


@pytest.mark.slow
def test_20000_clusters_take_seconds_and_bounded_memory() -> None:
    generator = np.random.default_rng(0)
    by = drawn(generator, 20_000, 2)
    apart = generator.integers(-1, 2, (3, len(by.row))).astype(float)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    sign_flips(apart, by)
    proportion(np.abs(apart), by)
    assert time.perf_counter() - begin < 20  # 1 s on a quiet core
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(0, 9))
def test_corrected_p_values_keep_their_order_and_grow(p_values: list[float], unseen: int) -> None:
    corrected = holm(p_values)
    assert all(p <= q <= min(1, p * len(p_values)) or q <= 1 for p, q in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    every = holm([*p_values, *[0.5] * unseen])  # those that are not shown make no other p smaller
    assert all(q <= r + 1e-12 for q, r in zip(every, holm(p_values, len(p_values) + unseen), strict=False))
