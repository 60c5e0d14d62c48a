"""The optimizer's groups of parameters, and its learning rate."""

import inspect
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def parameter_groups(parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    """Weight decay, where an optimizer has any, on matrices only: not on biases, norms and other vectors."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def schedule(
    optimizer: Optimizer,
    total_steps: int,
    name: Literal["linear", "cosine", "constant"],
    warmup_ratio: Annotated[float, Field(ge=0, le=1)],
) -> LRScheduler:
    """Learning rate by step: straight or along a cosine to 0, or constant, after a linear warm-up of a share of all.

    The warm-up's steps are rounded up, as `run_qa.py` rounds them.
    """
    from transformers import get_scheduler  # takes a second to import, and a look at the signature does not need it

    kind = "constant_with_warmup" if name == "constant" else name
    scheduler: LRScheduler = get_scheduler(kind, optimizer, math.ceil(warmup_ratio * total_steps), total_steps)
    return scheduler


def can_fuse(optimizer: Callable[..., Optimizer], device: torch.device) -> bool:
    """Whether an optimizer can do a step in one kernel, and no setting says otherwise."""
    settings = optimizer.keywords if isinstance(optimizer, partial) else {}
    is_set = any(settings.get(name) is not None for name in ("fused", "foreach"))
    return device.type in ("cuda", "cpu") and not is_set and "fused" in inspect.signature(optimizer).parameters
