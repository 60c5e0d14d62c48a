"""Effects of many settings from few runs: two-level fractional factorial designs (Box, Hunter and Hunter)."""

from collections.abc import Sequence
from itertools import combinations, count
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Effect(NamedTuple):
    """The mean difference that the second value of a setting makes, with its 95% interval."""

    difference: float
    low: float
    high: float


def fractional_factorial(settings: int) -> NDArray[np.int64]:
    """The level of each setting in each run, 0 or 1, int64 [runs, settings].

    The runs are the smallest power of two that is at least 8 and twice the settings. Then each further setting can be
    the product of an odd number of the first ones, and no effect is mixed up with that of a pair (resolution IV).
    Three settings → all 8 combinations; eight settings → 16 of their 256.
    """
    first = next(bits for bits in count(3) if 1 << bits >= 2 * settings)  # settings that vary freely
    signs = 1 - 2 * (np.arange(1 << first)[:, None] >> np.arange(first) & 1)  # [runs, first]
    products = [part for size in range(1, first + 1, 2) for part in combinations(range(first), size)]
    columns = [signs[:, list(part)].prod(axis=1) for part in products[:settings]]
    return (1 - np.stack(columns, axis=1)) // 2


def main_effects(levels: ArrayLike, values: Sequence[float]) -> list[Effect]:
    """The effect of each setting on the values of the runs, by least squares, with intervals of Student's t.

    `levels`: 0 or 1 [runs, settings]. What the effects leave over is taken for chance: other seeds, and pairs of
    settings whose effects do not add up. Empty where the runs are too few to tell the effects apart and from chance.
    """
    from scipy.stats import t  # half a second

    signs = 2.0 * np.asarray(levels) - 1
    design = np.column_stack([np.ones(len(signs)), signs])  # [runs, 1 + settings]
    left = len(design) - design.shape[1]
    if left < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return []
    inverse = np.linalg.inv(design.T @ design)
    slopes = inverse @ design.T @ np.asarray(values)
    variance = np.square(values - design @ slopes).sum() / left
    reach = 2 * np.sqrt(variance * np.diag(inverse)) * t.ppf(0.975, left)  # a level goes from -1 to 1
    return [Effect(2 * slope, 2 * slope - r, 2 * slope + r) for slope, r in zip(slopes[1:], reach[1:], strict=True)]
