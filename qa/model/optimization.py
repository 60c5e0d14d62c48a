"""What the optimizer trains, and how fast."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler


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
    kind = "constant_with_warmup" if name == "constant" else name
    scheduler: LRScheduler = get_scheduler(kind, optimizer, math.ceil(warmup_ratio * total_steps), total_steps)
    return scheduler
