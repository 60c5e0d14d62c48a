"""Batches of windows as tensors, for training and for evaluation."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from qa.data.arrays import Ints
from qa.data.epochs.batch_order import copies
from qa.data.example import Example
from qa.data.windows.build import Windows
from qa.data.windows.tokenizer import Template

INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # of a batch, for the model: [batch, length]


class Batch(TypedDict, total=False):
    """Windows as the model takes them, padded to the longest."""

    input_ids: Tensor  # int64 [batch, length]
    attention_mask: Tensor  # int64 [batch, length]: 1 where there is a token
    token_type_ids: Tensor  # int64 [batch, length]: as the tokenizer has them; BERT's: 1 for the context and after
    start_positions: Tensor  # int64 [batch]; in training [batch, labels], -1 where there are fewer
    end_positions: Tensor  # as start_positions
    lengths: Ints  # [batch]: tokens of each window, known without a look at a device
    rows: NDArray[np.int64]  # [batch]: window numbers
    keys: NDArray[np.int64]  # [batch], in training: `rows`, but each copy of a window in a whole batch has its own
    ids: list[str]  # [batch]: each window's example id
    rank_tokens: tuple[int, int]  # in training: of the rank that has fewest, and of the one that has most


class TrainingBatch(Batch, total=False):
    """One rank's part of the batch of a step."""

    weight: float  # of each window: 1 / windows of the whole batch; 0 for a stand-in on a rank that has no part
    windows: int  # of the whole batch, over all ranks
    tokens: int  # of the whole batch, over all ranks, without padding
    share: int  # windows of the rank that has most
    longest: int  # tokens of the longest window of the whole batch


class EvaluationBatch(Batch, total=False):
    """A whole batch, with what decoding needs."""

    context_mask: Tensor  # bool [batch, length]: the context's tokens
    offsets: Ints  # [batch, length, 2]: characters of the context, end-exclusive


class EpochSampler(Sampler[NDArray[np.int64]]):
    """Yields the batches of an epoch; the trainer calls `set_epoch` before each. The first may begin in its middle."""

    def __init__(self, batches: Callable[[int], list[NDArray[np.int64]]], count: int, epoch: int, done: int) -> None:
        """`batches` of an epoch, `count` of them; `done`: batches of `epoch` that were trained already."""
        self.batches, self.count, self.epoch, self.done = batches, count, epoch, done

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.done = epoch, 0

    def __len__(self) -> int:
        """Batches of a whole epoch, also where the first one is shorter."""
        return self.count

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter(self.batches(self.epoch)[self.done :])


class WindowDataset(Dataset[Batch]):
    """Windows, with the examples and the template that turn them into batches."""

    def __init__(self, windows: Windows, examples: Sequence[Example], template: Template) -> None:
        self.windows, self.examples, self.template = windows, examples, template

    def _padded(self, rows: NDArray[np.int64]) -> tuple[Batch, NDArray[np.bool_], Ints]:
        """Tensors of these windows; the context's positions, bool [batch, length]; offsets, [batch, length, 2]."""
        w, template = self.windows, self.template
        before, between, after = w.special_tokens.tolist()
        questions, lengths = w.question_lengths(rows), w.length[rows]  # [batch]: tokens
        first = before + questions[:, None] + between  # [batch, 1]: position of the context's first token
        last = first + lengths[:, None]  # [batch, 1]: position after its last one
        end = last + after  # [batch, 1]: tokens of the window
        shape = len(rows), int(end.max())
        position = np.arange(shape[1])  # [length]
        in_context = (position >= first) & (position < last)  # [batch, length]
        input_ids = np.full(shape, template.padding, np.int64)  # [batch, length]
        token_types = np.where(position < first, template.question_type, in_context * template.context_type)
        offsets = np.zeros((*shape, 2), np.int32)
        for row, window in enumerate(rows):
            question = w.text_bounds[w.question[w.example[window]]]
            context = w.text_bounds[w.context[w.example[window]]] + w.begin[window]
            input_ids[row, before : before + questions[row]] = w.token_ids[question : question + questions[row]]
            tokens = slice(context, context + lengths[row])
            input_ids[row, first[row, 0] : last[row, 0]] = w.token_ids[tokens]
            offsets[row, first[row, 0] : last[row, 0]] = w.offsets[tokens]
        for begin, special in zip((first * 0, first - between, last), template[:3], strict=True):
            places = begin + np.arange(len(special))
            np.put_along_axis(input_ids, places, special[:, 0], axis=1)
            np.put_along_axis(token_types, places, special[:, 1], axis=1)
        batch = Batch(
            lengths=end[:, 0],
            rows=rows,
            ids=[self.examples[example].id for example in w.example[rows]],
            input_ids=torch.from_numpy(input_ids),
            attention_mask=torch.from_numpy((position < end).astype(np.int64)),
            token_type_ids=torch.from_numpy(token_types.astype(np.int64)),
            start_positions=torch.from_numpy(w.start_positions[rows].astype(np.int64)),
            end_positions=torch.from_numpy(w.end_positions[rows].astype(np.int64)),
        )
        return batch, in_context, offsets


class EvaluationBatches(WindowDataset):
    """Window numbers [batch] → their batch."""

    def __getitem__(self, rows: NDArray[np.int64]) -> EvaluationBatch:
        batch, context_mask, offsets = self._padded(rows)
        return EvaluationBatch(**batch, context_mask=torch.from_numpy(context_mask), offsets=offsets)


class TrainingBatches(WindowDataset):
    """Window numbers of a whole batch → one rank's part of it: every `world_size`th window, so that lengths even out.

    A rank without a part (fewer windows than ranks) gets the first window with weight 0, since every rank must take
    part in the step.
    """

    def __init__(
        self,
        windows: Windows,
        examples: Sequence[Example],
        template: Template,
        labels: Ints,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """`labels`: of `training_labels`."""
        super().__init__(windows, examples, template)
        self.labels, self.rank, self.world_size, self.lengths = labels, rank, world_size, windows.lengths()

    def __getitem__(self, rows: NDArray[np.int64]) -> TrainingBatch:
        has_part = self.rank < len(rows)
        part = slice(self.rank, None, self.world_size) if has_part else slice(1)
        batch, _, _ = self._padded(rows[part])
        labels = torch.from_numpy(self.labels[rows[part]].astype(np.int64))  # [batch, labels, 2]
        batch["start_positions"], batch["end_positions"] = labels.unbind(2)
        lengths = self.lengths[rows]
        tokens = [int(lengths[rank :: self.world_size].sum()) for rank in range(min(self.world_size, len(rows)))]
        return TrainingBatch(
            **batch,
            keys=(rows + copies(rows) * len(self.windows))[part],
            weight=1 / len(rows) if has_part else 0.0,
            windows=len(rows),
            tokens=int(lengths.sum()),
            share=math.ceil(len(rows) / self.world_size),
            longest=int(lengths.max()),
            rank_tokens=(min(tokens), max(tokens)),
        )
