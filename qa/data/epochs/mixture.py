"""The windows of an epoch, and how often each comes: a mixture of files, a share of the windows without an answer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qa.data.arrays import Ints
from qa.data.example import Example
from qa.data.reading.files import by_path, find_files, labels
from qa.data.reading.record import Files
from qa.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, le=1000)]
Mixture = Share | Mapping[str, Weight]
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=[^/]*$)")  # of train-00000-of-00002.parquet


@dataclass(frozen=True)
class EpochPlan:
    """Windows in groups; every epoch takes a fixed number of each group, and no window again before all others.

    The windows of a group take turns in an order that was drawn once: of a group of 5 with count 2 the epochs take the
    places 0 1, 2 3, 4 0, 1 2 …; with count 7 each window once or twice.
    """

    group: Ints  # [windows]
    place: NDArray[np.int64]  # [windows]: in the order of its group
    size: NDArray[np.int64]  # [groups]: windows
    count: NDArray[np.int64]  # [groups]: windows of an epoch
    files: Sequence[str] = ()  # [groups / 2]: the name of each pair's file

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """The windows of an epoch, int64 [windows of an epoch], ascending, repeated as often as they come."""
        size, count = self.size[self.group], self.count[self.group]
        before = (epoch * count - 1 - self.place) // size  # how often each window has come, minus 1
        return np.repeat(np.arange(len(self.group)), ((epoch + 1) * count - 1 - self.place) // size - before)

    def in_words(self) -> str:
        """The plan: "900 windows: squad 600 from 600, own 300 from 100; of those without their answer 200 from 400"."""
        counts, sizes = self.count.reshape(-1, 2), self.size.reshape(-1, 2)  # [files, 2]
        columns = zip(self.files, counts.sum(axis=1), sizes.sum(axis=1), strict=True)
        files = ", ".join(f"{name} {count:,} from {size:,}" for name, count, size in columns)
        without = f"{counts[:, 1].sum():,} from {sizes[:, 1].sum():,}"
        return f"{self.count.sum():,} windows: {files}; of those without their answer {without}"


def file_weights(mixture: Mixture | None, files: Files | None) -> Mapping[Path, float] | float:
    """{path: how often an epoch sees each window of that file}, or the exponent that decides; 1.0: all alike.

    Errors: UserError where there are no files to mix, or for the name of no file or of several.
    """
    if mixture is None:
        return 1.0
    if not files:
        raise UserError("data.mixture: mixes files; give data.train_file=[a.json,b.json]")
    return by_path("data.mixture", mixture, find_files(files)) if isinstance(mixture, Mapping) else mixture


def plan_epochs(
    example: Ints,
    has_label: NDArray[np.bool_],
    examples: Sequence[Example],
    paths: Sequence[Path],
    weights: Mapping[Path, float] | float,
    negatives: float,
    seed: int,
) -> EpochPlan:
    """Plans the epochs: two groups for each file, the windows of each pass over the file, and the others.

    A pass takes every window with its answer, one window of each unanswerable question, which else might be in no
    epoch, and the share `negatives` of the others.

    `example`: each window's, [windows]; `has_label`: whether it holds its answer, bool [windows]; `paths`: each
    example's file; shards are one file. `weights`: passes of an epoch over a file, 1 where it is not named; or an
    exponent a: an epoch has windows of each file in proportion to (windows of a pass) ** a, those of the largest file
    once.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))  # not that of any epoch's batches
    in_pass = has_label.copy()
    order = np.lexsort((generator.random(len(example)), example))
    one = order[np.unique(example[order], return_index=True)[1]]  # a window of each question
    impossible = np.array([asked.is_impossible for asked in examples])
    in_pass[one] |= impossible[example[one]]

    firsts: dict[str, Path] = {}  # the first shard of each file
    whole = {path: firsts.setdefault(SHARD.sub("", str(path)), path) for path in dict.fromkeys(paths)}
    numbers = {path: number for number, path in enumerate(firsts.values())}
    file = np.array([numbers[whole[path]] for path in paths])[example]
    group = (2 * file + ~in_pass).astype(np.int32)
    size = np.bincount(group, minlength=2 * len(numbers))
    share = size * np.tile([1, negatives], len(numbers))  # [groups]: windows of a pass
    if isinstance(weights, Mapping):
        named = {whole[path]: weight for path, weight in weights.items() if path in whole}
        passes = np.array([named.get(path, 1.0) for path in numbers])  # [files]
    else:
        each = np.maximum(share.reshape(-1, 2).sum(axis=1), 1)
        passes = (each.max() / each) ** (1 - weights)
    count = np.maximum(np.rint(share * np.repeat(passes, 2)), share > 0).astype(np.int64)

    order = np.lexsort((generator.random(len(example)), group))
    place = np.empty(len(example), np.int64)
    place[order] = np.arange(len(example)) - (np.cumsum(size) - size)[group[order]]
    return EpochPlan(group, place, size, count, labels(list(numbers)))
