"""What the processes of a run tell each other in every step, through the CPU, so that no GPU has to be waited for."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor

BACKENDS = "cpu:gloo,cuda:nccl"  # flags and objects through the CPU, gradients from GPU to GPU


def connect(trainer: Trainer) -> None:
    """Sets how the ranks will be connected, before lightning does so. Nothing changes for one process."""
    strategy: Any = trainer.strategy
    if not isinstance(strategy, (DDPStrategy, ModelParallelStrategy)):
        return
    if strategy.root_device.type == "cuda":
        strategy._process_group_backend = strategy._process_group_backend or BACKENDS
        # lightning 2.6.6 builds DDP in a side stream, which autograd then warns of; nobody can act on it
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    # what it asks all ranks in every step, through the GPU, the history's own signal handlers answer
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def largest(values: Sequence[int]) -> list[int]:
    """The largest of each of the ranks' values, on every rank."""
    if not _several():
        return list(values)
    device = "cpu" if "gloo" in torch.distributed.get_backend() else torch.device("cuda", torch.cuda.current_device())
    flags = torch.tensor(values, dtype=torch.int64, device=device)
    torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
    return flags.tolist()


def summed(value: Tensor) -> Tensor:
    """The ranks' values added up, in place; the host does not wait for it."""
    if _several():
        torch.distributed.all_reduce(value)
    return value


def _several() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
