"""Gradients by CUDA graphs: the host starts a whole forward and backward pass at once, not kernel by kernel."""

import logging
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from qa.data.epochs.batches import INPUTS, TrainingBatch
from qa.errors import first_line
from qa.model.fast.gradients import FlatGradients
from qa.model.fast.logits import padded_tokens

log = logging.getLogger(__name__)

WIDTH = 128  # a batch's width is rounded up to a multiple of it, so that fewer graphs do
Key = tuple[int, int, int, int]  # windows of all ranks, windows, width, tokens: new to all ranks at the same step
Pass = Callable[[TrainingBatch], Tensor]


class Graph:
    """The pass of batches of one shape; it reads a batch that stays where it is."""

    def __init__(self, batch: TrainingBatch, compute: Pass, stream: Any, pool: Any) -> None:
        """Captures `compute` without running it; `pool`: memory that all graphs share, as they run in turn."""
        self.batch: dict[str, Any] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in batch.items()}
        self.batch["weight"] = torch.zeros((), dtype=torch.float32, device=batch["input_ids"].device)
        self.graph = torch.cuda.CUDAGraph()
        # the outer context leaves the stream also where torch cannot end a capture, and stays in it
        with torch.cuda.stream(stream), torch.cuda.graph(self.graph, pool, stream, "thread_local"):
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
    """A graph for each shape that comes a second time: the first is run as it is, which warms its kernels up.

    All graphs share a stream and a pool, and are dropped together: from torch 2.12 on, a graph that is gone takes the
    room of cuBLAS on its stream along, which others still use.
    """

    def __init__(self, compute: Pass, gradients: FlatGradients) -> None:
        """`compute(batch)`: weighted losses, float32 [batch], after it has added to the gradients."""
        self._compute, self._gradients = compute, gradients
        self._seen: set[Key] = set()
        self._limit = math.inf  # tokens for which a capture failed
        self.replayed = False  # whether a part of this step was computed by a graph
        self.drop()

    def drop(self) -> None:
        """Gives all graphs and their memory back; a shape that comes again is captured again."""
        self._graphs: dict[Key, Graph] = {}
        torch.cuda.synchronize()  # an error of the device itself is raised here
        self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def zero_grad(self) -> None:
        """Sets the gradients to 0, before the parts of a step; drops the graphs where parameters are elsewhere now."""
        self.replayed = False
        if self._gradients.zero_grad():
            self.drop()

    def __call__(self, batch: TrainingBatch) -> Tensor:
        """The batch's weighted losses, float32 [batch]; adds to the gradients."""
        batch = _widened(batch)
        key = batch["windows"], *batch["input_ids"].shape, padded_tokens(batch)
        if key in self._seen and key not in self._graphs and key[3] < self._limit:
            self._capture(key, batch)
        if key in self._graphs:
            self.replayed = True
            return self._graphs[key].run(batch)
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            losses = self._compute(batch)
        current.wait_stream(self._stream)
        self._seen.add(key)
        return losses

    def _capture(self, key: Key, batch: TrainingBatch) -> None:
        """Captures a graph; where that fails, this shape and larger ones go without, and have all memory for it."""
        try:
            self._graphs[key] = Graph(batch, self._compute, self._stream, self._pool)
            return
        except RuntimeError as error:
            reason = first_line(error)
        self._limit = key[3]
        self.drop()
        torch.cuda.empty_cache()
        log.warning("no CUDA graphs for batches of %d tokens or more, whose steps are slower: %s", key[3], reason)


def _widened(batch: TrainingBatch) -> TrainingBatch:
    """The batch, padded to a multiple of WIDTH that is the same on all ranks."""
    more = -(-batch["longest"] // WIDTH) * WIDTH - batch["input_ids"].shape[1]
    wide: dict[str, Any] = {**batch}
    wide |= {name: pad(wide[name], (0, more)) for name in INPUTS if name in wide}
    return cast(TrainingBatch, wide)
