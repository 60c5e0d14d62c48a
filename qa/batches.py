"""Which windows go together, as a pure function of (seed, epoch), and how they become tensors."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from qa.examples import Example
from qa.windows import Ints, Windows

Batching = Literal["bucketed", "random"]

POOL = 32  # batches whose windows are sorted together: 3% padding on SQuAD-like lengths, and still a shuffle


class Batch(TypedDict, total=False):
    """What the module sees. The last three are there outside of training only."""

    input_ids: Tensor  # int64 [batch, length]
    attention_mask: Tensor  # int64 [batch, length]: 1 where there is a token
    token_type_ids: Tensor  # int64 [batch, length]: 1 for the context and the last [SEP]
    start_positions: Tensor  # int64 [batch]
    end_positions: Tensor  # int64 [batch]
    context_mask: Tensor  # bool [batch, length]: the context's tokens
    offsets: NDArray[np.int32]  # [batch, length, 2]: characters of the context, end-exclusive
    examples: list[Example]  # [batch]: each window's example


def epoch_batches(lengths: Ints, batch_size: int, batching: Batching, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The batches of one training epoch: every window once, `batch_size` in each but the last.

    `bucketed` shuffles, sorts pools of `POOL` batches by length and shuffles the batches; the same arguments always
    give the same batches, so that step s of an epoch can be had without the steps before it.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(lengths))
    full = len(order) // batch_size
    last = order[full * batch_size :]
    order = order[: full * batch_size]
    if batching == "bucketed":
        pool = batch_size * POOL
        for begin in range(0, len(order), pool):
            part = order[begin : begin + pool]
            order[begin : begin + pool] = part[np.argsort(lengths[part], kind="stable")]
    batches = list(order.reshape(full, batch_size))
    if batching == "bucketed":
        batches = [batches[row] for row in generator.permutation(full)]
    return batches + ([last] if len(last) else [])


def ordered_batches(lengths: Ints, batch_size: int) -> list[NDArray[np.int64]]:
    """The batches of an evaluation: windows by length, the longest first, so that too large a batch shows at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]


def padded_share(lengths: Ints, batches: Sequence[NDArray[np.int64]]) -> float:
    """The part of all positions in these batches that is padding, in [0, 1)."""
    positions = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - int(lengths.sum()) / positions if positions else 0.0


class EpochSampler(Sampler[NDArray[np.int64]]):
    """Yields the batches of an epoch; the trainer calls `set_epoch` before each."""

    def __init__(self, lengths: Ints, batch_size: int, batching: Batching, seed: int) -> None:
        self.lengths, self.batch_size, self.batching, self.seed = lengths, batch_size, batching, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter(epoch_batches(self.lengths, self.batch_size, self.batching, self.seed, self.epoch))


class BatchDataset(Dataset[Batch]):
    """Window numbers [batch] → their `Batch`, padded to the longest of them."""

    def __init__(
        self, windows: Windows, examples: Sequence[Example], special: tuple[int, int, int], train: bool
    ) -> None:
        """`special`: the ids of [CLS], [SEP] and [PAD]."""
        self.windows, self.examples, self.special, self.train = windows, examples, special, train

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        w, (cls, sep, pad) = self.windows, self.special
        questions, lengths = w.question_lengths(rows), w.length[rows]
        shape = len(rows), int((questions + lengths).max()) + 3
        input_ids = np.full(shape, pad, np.int64)
        position = np.arange(shape[1])
        first = questions[:, None] + 2  # position of the context's first token
        last = first + lengths[:, None]  # position of the last [SEP]
        context_mask = (position >= first) & (position < last)
        offsets = np.zeros((*shape, 2), np.int32)
        for row, window in enumerate(rows):
            question = w.text_bounds[w.question[w.example[window]]]
            context = w.text_bounds[w.context[w.example[window]]] + w.begin[window]
            input_ids[row, 1 : questions[row] + 1] = w.token_ids[question : question + questions[row]]
            tokens = slice(context, context + lengths[row])
            input_ids[row, first[row, 0] : last[row, 0]] = w.token_ids[tokens]
            offsets[row, first[row, 0] : last[row, 0]] = w.offsets[tokens]
        input_ids[:, 0] = cls
        np.put_along_axis(input_ids, first - 1, sep, axis=1)
        np.put_along_axis(input_ids, last, sep, axis=1)
        batch = Batch(
            input_ids=torch.from_numpy(input_ids),
            attention_mask=torch.from_numpy((position <= last).astype(np.int64)),
            token_type_ids=torch.from_numpy(((position >= first) & (position <= last)).astype(np.int64)),
            start_positions=torch.from_numpy(w.start_positions[rows].astype(np.int64)),
            end_positions=torch.from_numpy(w.end_positions[rows].astype(np.int64)),
        )
        if not self.train:
            batch["context_mask"] = torch.from_numpy(context_mask)
            batch["offsets"] = offsets
            batch["examples"] = [self.examples[example] for example in w.example[rows]]
        return batch
