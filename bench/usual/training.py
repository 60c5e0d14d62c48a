"""Training and logits the usual way: batches padded to the full length, the model's own loss, AdamW."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from typing import Any

import torch
from torch import Tensor
from transformers import get_linear_schedule_with_warmup

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LABELS = ("start_positions", "end_positions")


def training_steps(model: Any, batches: Iterable[dict[str, Tensor]], steps: int, half: bool = False) -> Iterator[float]:
    """The loss of each step, the model's own; `half` computes in bfloat16 by autocast.

    `batches`: of one epoch, such as a loader; they are gone through again until there are enough.
    """
    device = model.device
    optimizer = torch.optim.AdamW(model.parameters(), 2e-5, fused=device.type == "cuda")
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, steps)
    for batch in islice(chain.from_iterable(repeat(batches)), steps):
        inputs = {name: batch[name].to(device, non_blocking=True) for name in (*INPUTS, *LABELS)}
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        yield loss.item()  # each step's, as it is logged


@torch.inference_mode()
def logits(model: Any, batches: Iterable[dict[str, Tensor]], half: bool = False) -> Iterator[Tensor]:
    """Start and end logits of each batch on the host, float32 [2, batch, length]."""
    for batch in batches:
        inputs = {name: batch[name].to(model.device, non_blocking=True) for name in INPUTS}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=half):
            output = model(**inputs)
        yield torch.stack([output.start_logits, output.end_logits]).float().cpu()
