"""The windows of each batch, as a pure function of (seed, epoch)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qa.data.arrays import Ints

Batching = Literal["bucketed", "random"]

POOL = 32  # batches that are sorted together: 3% padding on SQuAD-like lengths, and still a shuffle


def epoch_batches(
    lengths: Ints, batch_size: int, batching: Batching, seed: int, epoch: int, copy: NDArray[np.int64] | None = None
) -> list[NDArray[np.int64]]:
    """The batches of one training epoch: every row once, `batch_size` in each but the last.

    `lengths`: int32 [rows], the tokens of each row's window. `bucketed` shuffles, sorts pools of `POOL` batches by
    length and shuffles the batches; the same arguments always give the same batches, so that step s of an epoch can be
    had without the steps before it. `copy`: int64 [rows], see `copies`, of rows in ascending order; a window that comes
    several times is in several passes, each shuffled and sorted by itself.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(lengths))
    copy = np.zeros_like(order) if copy is None else copy
    passes = int(copy.max(initial=0)) + 1
    first = np.arange(len(copy)) - copy  # [rows]: of the window's first copy
    turn = (np.argsort(order)[first] + copy) % passes  # [rows]: the pass of each
    order = order[np.argsort(turn[order], kind="stable")]
    full = len(order) // batch_size
    order, last = np.split(order, [full * batch_size])
    if batching == "bucketed":
        pool = batch_size * POOL
        edges = np.searchsorted(np.sort(turn), np.arange(passes + 1)).tolist()
        for edge, following in pairwise(edges):  # a batch of two passes is not sorted: copies would meet there
            end = following // batch_size * batch_size
            for begin in range(-(-edge // batch_size) * batch_size, end, pool):
                part = order[begin : min(begin + pool, end)]
                part[:] = part[np.argsort(lengths[part], kind="stable")]
    batches = list(order.reshape(full, batch_size))
    if batching == "bucketed":
        batches = [batches[row] for row in generator.permutation(full)]
    return batches + ([last] if len(last) else [])


def copies(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of times that each window came before in these, [rows]: all 0 where none comes twice."""
    order = np.argsort(rows, kind="stable")
    ranked, numbers = rows[order], np.empty_like(rows)
    numbers[order] = np.arange(len(rows)) - np.searchsorted(ranked, ranked)
    return numbers


def drawn_windows(example: Ints, most: float, seed: int) -> NDArray[np.int64]:
    """The windows of questions drawn at random, all windows of each, at most `most` together but of one question.

    `example`: int32 [windows], each window's question. The order in which questions are drawn depends on `seed` and
    their number alone, so that a larger part holds every smaller one. Returns window numbers, int64 [drawn], ascending.
    """
    questions, counts = np.unique(example, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(questions))
    count = max(1, int(np.searchsorted(counts[order].cumsum(), most, side="right")))
    return np.flatnonzero(np.isin(example, questions[order[:count]]))


def ordered_batches(rows: NDArray[np.int64], lengths: Ints, batch_size: int) -> list[NDArray[np.int64]]:
    """The batches of an evaluation: windows by length, the longest first, so that too large a batch shows at once.

    `rows`: int64 [evaluated], the windows to evaluate; `lengths`: int32 [windows], of all windows.
    """
    order = rows[np.argsort(-lengths[rows], kind="stable")]
    return [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]


def padded_share(lengths: Ints, batches: Sequence[NDArray[np.int64]]) -> float:
    """The share of padding among all positions in these batches, in [0, 1)."""
    positions = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - sum(int(lengths[batch].sum()) for batch in batches) / positions if positions else 0.0


def batches_of_rank(batches: Sequence[NDArray[np.int64]], rank: int, world_size: int) -> list[NDArray[np.int64]]:
    """The batches that one rank evaluates: every `world_size`th, and as many as every other rank.

    A rank with one batch fewer repeats the last, shortest one: an answer or a loss that comes twice counts once.
    """
    each = math.ceil(len(batches) / world_size)
    return [batches[min(rank + turn * world_size, len(batches) - 1)] for turn in range(each)]
