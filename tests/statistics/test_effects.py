"""Factorial designs: effects are told apart, and intervals hold what they say."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa.statistics.effects import fractional_factorial, main_effects


@given(st.integers(1, 20))
def test_no_effect_is_mixed_up_with_another_or_with_a_pair(settings: int) -> None:
    design = fractional_factorial(settings)
    assert design[0].tolist() == [0] * settings  # the first values all together: as the run without any change
    runs, signs = len(design), 2 * design - 1
    assert runs < max(9, 4 * settings)
    assert (signs.T @ signs == runs * np.eye(settings)).all()
    for one, other in combinations(range(settings), 2):
        assert not (signs.T @ (signs[:, one] * signs[:, other])).any()


def test_few_settings_come_in_all_combinations() -> None:
    assert len({tuple(levels) for levels in fractional_factorial(3).tolist()}) == 8


def test_intervals_contain_the_effects_in_95_of_100_cases_and_nothing_is_said_of_too_few_runs() -> None:
    generator, design = np.random.default_rng(1), fractional_factorial(7)
    contained = []
    for _ in range(400):
        effects = generator.normal(size=7)
        values = 60 + design @ effects + generator.normal(0, 0.7, len(design))
        kept = generator.permutation(16)[:14]  # two runs failed
        for effect, estimate in zip(effects, main_effects(design[kept], values[kept].tolist()), strict=True):
            contained.append(estimate.low <= effect <= estimate.high)
            assert estimate.low < estimate.difference < estimate.high
    assert np.mean(contained) == pytest.approx(0.95, abs=0.015)
    assert main_effects(design[:8], [1.0] * 8) == []  # no run is left to know chance by
    assert main_effects(design[:, [0, 0]], [1.0] * 16) == []  # two settings that always change together
