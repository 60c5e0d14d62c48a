"""Splits a batch that is too large for the device into parts, with the same gradients."""

import logging
import math
from typing import Any, Literal

import numpy as np
import torch

from qa.data.epochs.batches import INPUTS, TrainingBatch
from qa.errors import UserError

log = logging.getLogger(__name__)

MicroBatchSize = int | Literal["auto"]


class MicroBatches:
    """The number of windows that one device carries at once: given, or found by running out of memory.

    All is decided from what every rank knows, the largest `share` of a batch and its `longest` window, so that all
    ranks decide alike and take the same number of parts.
    """

    def __init__(self, size: MicroBatchSize = "auto") -> None:
        self.chosen = size
        self._fitting: dict[int, int] = {}  # longest window in tokens: windows that fit, after running out of memory

    def size(self, batch: TrainingBatch) -> int:
        """Windows at a time: what a shorter batch could not carry a longer one cannot either."""
        if self.chosen != "auto":
            return min(self.chosen, batch["share"])
        sizes = (size for longest, size in self._fitting.items() if longest <= batch["longest"])
        return min([batch["share"], *sizes])

    def split(self, batch: TrainingBatch) -> list[TrainingBatch]:
        """Parts of at most `size` windows, each cut to its longest; their `weight` is that of the whole batch.

        A rank with one part fewer repeats its first window with weight 0.
        """
        size = self.size(batch)
        if size >= batch["share"]:
            return [batch]
        return [_part(batch, number * size, size) for number in range(math.ceil(batch["share"] / size))]

    def halve(self, batch: TrainingBatch) -> None:
        """Halves the number of windows of this length from now on. Errors: UserError where it is one, or set."""
        size, longest = self.size(batch), batch["longest"]
        if self.chosen != "auto" or size == 1:
            lower = "data.max_length" if size == 1 else "data.micro_batch_size or data.max_length"
            problem = f"out of memory with {size} window{'s' * (size > 1)} of {longest} tokens at once"
            raise UserError(f"{problem}; lower {lower}, or take trainer.precision=bf16-mixed")
        self._fitting[longest] = (size + 1) // 2
        log.warning("out of memory: batches of %d tokens go %d windows at a time", longest, self._fitting[longest])


def _part(batch: TrainingBatch, begin: int, size: int) -> TrainingBatch:
    stand_in = begin >= len(batch["input_ids"])
    rows = slice(0, 1) if stand_in else slice(begin, begin + size)
    length = int(batch["lengths"][rows].max())
    part: dict[str, Any] = {**batch, "ids": batch["ids"][rows], "longest": length}
    part["rank_tokens"] = 2 * (int(batch["lengths"][rows].sum()),)  # those of other ranks' parts are not known
    for name, value in batch.items():
        if isinstance(value, torch.Tensor | np.ndarray):
            part[name] = value[rows, :length] if name in (*INPUTS, "context_mask") else value[rows]
    if stand_in:
        part["weight"] = 0.0
    return part  # type: ignore[return-value]
