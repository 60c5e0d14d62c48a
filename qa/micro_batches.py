"""How a batch that is too large for the device is carried in parts, without a change to what is learnt."""

import logging
from typing import Any, Literal

import torch

from qa import UserError
from qa.batches import Batch

log = logging.getLogger(__name__)

MicroBatchSize = int | Literal["auto"]


def split(batch: Batch, size: int) -> list[Batch]:
    """Parts of at most `size` windows, each cut to its longest window; their `weights` are those of the whole."""
    if size >= len(batch["input_ids"]):
        return [batch]  # the usual case; to look at its lengths would wait for the device
    parts: list[Batch] = []
    for begin in range(0, len(batch["input_ids"]), size):
        rows = slice(begin, begin + size)
        length = int(batch["attention_mask"][rows].sum(dim=1).max())
        part: dict[str, Any] = dict(batch)
        for name, value in part.items():
            if isinstance(value, torch.Tensor):
                part[name] = value[rows] if value.ndim == 1 else value[rows, :length]
        parts.append(part)  # type: ignore[arg-type]
    return parts


class MicroBatches:
    """The number of windows that one device carries at once: given, or found by running out of memory."""

    def __init__(self, size: MicroBatchSize = "auto") -> None:
        self.size = size
        self._found: dict[int, int] = {}  # length of a batch in tokens: windows that fit

    def of(self, batch: Batch) -> int:
        """Windows at a time for a batch: what a shorter one could not carry a longer one cannot either."""
        windows, length = batch["input_ids"].shape
        if self.size != "auto":
            return min(self.size, windows)
        return min([windows, *(size for known, size in self._found.items() if known <= length)])

    def halve(self, batch: Batch) -> None:
        """Half as many windows of this length from now on. Errors: UserError where it was one already, or is given."""
        size, length = self.of(batch), batch["input_ids"].shape[1]
        if self.size != "auto" or size == 1:
            raise UserError(
                f"out of memory with {size} windows of {length} tokens at once; lower data.micro_batch_size or"
                " data.max_length, or take trainer.precision=bf16-mixed"
            )
        self._found[length] = (size + 1) // 2
        log.warning("out of memory: batches of %d tokens go %d windows at a time", length, self._found[length])
