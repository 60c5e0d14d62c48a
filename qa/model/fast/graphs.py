"""Gradients by CUDA graphs: the host starts a whole forward and backward pass at once, not kernel by kernel."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from qa.data.epochs.batches import TrainingBatch
from qa.errors import is_out_of_memory
from qa.model.fast.unpadded import padded_tokens

log = logging.getLogger(__name__)

WIDTH = 128  # a batch's width is rounded up to a multiple of it, so that fewer graphs do
Key = tuple[int, int, int]  # windows, width, tokens


class Graph:
    """The pass of batches of one shape; it reads a batch that stays where it is."""

    def __init__(self, batch: TrainingBatch, compute: Callable[[TrainingBatch], Tensor], pool: Any) -> None:
        """Captures `compute` without running it; `pool`: memory that all graphs share, as they run in turn."""
        self.batch: dict[str, Any] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in batch.items()}
        self.batch["weight"] = torch.zeros((), device=batch["input_ids"].device)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.losses = compute(cast(TrainingBatch, self.batch))

    def run(self, batch: TrainingBatch) -> Tensor:
        """The batch's weighted losses, float32 [batch]; adds its gradients to the parameters'."""
        for name, value in batch.items():
            if isinstance(value, Tensor):
                self.batch[name].copy_(value, non_blocking=True)
        self.batch["weight"].fill_(batch["weight"])
        self.graph.replay()
        return self.losses.clone()


class Graphs:
    """A graph for each shape that comes a second time: the first is run as it is, which warms its kernels up."""

    def __init__(self, compute: Callable[[TrainingBatch], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        """`compute(batch)`: weighted losses, float32 [batch], after it has added the gradients to the parameters'."""
        self.compute = compute
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._gradients = [torch.zeros_like(parameter) for parameter in self._parameters]  # where graphs find them
        self._seen: set[Key] = set()
        self._graphs: dict[Key, Graph] = {}
        self._pool: Any = None
        self._room = True  # whether there is memory for graphs

    def zero_gradients(self) -> None:
        """Sets the gradients to 0, before the parts of a step."""
        torch._foreach_zero_(self._gradients)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def __call__(self, batch: TrainingBatch) -> Tensor:
        """The batch's weighted losses, float32 [batch]; adds its gradients to the parameters'."""
        batch = _widened(batch)
        key = *batch["input_ids"].shape, padded_tokens(batch["lengths"])
        if key not in self._graphs and key in self._seen and self._room:
            self._capture(key, batch)
        self._seen.add(key)
        return self._graphs[key].run(batch) if key in self._graphs else self.compute(batch)

    def _capture(self, key: Key, batch: TrainingBatch) -> None:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        try:
            self._graphs[key] = Graph(batch, self.compute, self._pool)
        except RuntimeError as error:
            cause = error.__context__  # torch ends a capture that failed with an error of its own
            if not is_out_of_memory(error) and not (isinstance(cause, RuntimeError) and is_out_of_memory(cause)):
                raise
            self._room = False
            log.warning("no memory for CUDA graphs: the steps run without them, slower")


def _widened(batch: TrainingBatch) -> TrainingBatch:
    """The batch, padded to a multiple of WIDTH."""
    more = -batch["input_ids"].shape[1] % WIDTH
    wide = {k: pad(v, (0, more)) if isinstance(v, Tensor) and v.ndim == 2 else v for k, v in batch.items()}
    return cast(TrainingBatch, wide)
