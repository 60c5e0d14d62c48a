"""Exchange between the processes of a run; flags and objects go through the CPU, so that no rank waits for a GPU."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy
from torch import Tensor
from torch.distributed import FileStore  # type: ignore[attr-defined]

from qa import ranks
from qa.internals import leave_signals_to_us, set_group

T = TypeVar("T")

BACKENDS = "cpu:gloo,cuda:nccl"  # flags and objects through the CPU, gradients from GPU to GPU
RANK_TIMEOUT = timedelta(minutes=10)  # with a rank that neither answers nor ends


def connect(trainer: Trainer) -> None:
    """Connects the ranks of this machine, or tells lightning how to connect the ranks of several."""
    strategy: Any = trainer.strategy
    if not isinstance(strategy, ParallelStrategy):
        return
    on_gpu = strategy.root_device.type == "cuda"
    if isinstance(strategy, (DDPStrategy, ModelParallelStrategy)):
        set_group(strategy, BACKENDS if on_gpu else None, RANK_TIMEOUT)
    if ranks.MEETING in os.environ and not torch.distributed.is_initialized():
        if on_gpu:
            torch.cuda.set_device(strategy.root_device)
        torch.distributed.init_process_group(
            BACKENDS if on_gpu else "gloo",
            timeout=RANK_TIMEOUT,
            store=FileStore(os.environ[ranks.MEETING], ranks.world_size()),
            rank=ranks.rank() or 0,
            world_size=ranks.world_size(),
            device_id=strategy.root_device if on_gpu else None,
        )
    leave_signals_to_us(trainer)  # the history has handlers of its own


def disconnect() -> None:
    """Ends the ranks' connection: the first one's last writes and uploads may take longer than others wait."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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


def sum_rows(matrix: Tensor, rows: Tensor, most: int) -> None:
    """Adds the ranks' matrices up, in place, of which only some rows are not 0: those alone are sent.

    `matrix`: [rows, width], as large on all ranks; `rows`: int64 [any], this rank's, also several times; no rank has
    more than `most`. The ranks' rows are added in the order of the ranks.
    """
    if not _several():
        return
    rows = torch.cat([rows, rows[:1].expand(most - len(rows))]).sort().values  # no look at their number
    is_first = torch.cat([rows.new_ones(1), rows.diff()]) != 0
    values = matrix[rows].where(is_first[:, None], 0)  # each row once
    world_size = torch.distributed.get_world_size()
    all_rows, all_values = rows.new_empty(world_size * most), values.new_empty(world_size * most, values.shape[1])
    torch.distributed.all_gather_single(all_rows, rows)
    torch.distributed.all_gather_single(all_values, values)
    matrix.index_fill_(0, rows, 0)
    for part in zip(all_rows.split(most), all_values.split(most), strict=True):
        matrix.index_add_(0, *part)


def all_gather(part: list[T]) -> list[T]:
    """The lists of all ranks as one list, on every rank."""
    if not _several():
        return part
    parts: list[list[T]] = [[]] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    return [item for ranks in parts for item in ranks]


def gather_to_rank_0(part: list[T]) -> list[T]:
    """The lists of all ranks as one list on rank 0; an empty one on the others."""
    if not _several():
        return part
    is_first = torch.distributed.get_rank() == 0
    parts: list[list[T]] | None = [[]] * torch.distributed.get_world_size() if is_first else None
    torch.distributed.gather_object(part, parts)
    return [item for ranks in parts or [] for item in ranks]


def _several() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
