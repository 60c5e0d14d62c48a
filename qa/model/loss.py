"""The loss of a window's span."""

import torch
from torch import Tensor


def span_loss(
    start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor, attention_mask: Tensor
) -> Tensor:
    """(Cross-entropy of start + of end) / 2 of every window, float32 [batch].

    Logits: float [batch, length]; positions: int64 [batch]; the softmax runs over attended positions only, so that a
    window's loss does not depend on its neighbours' padding, as it does in `BertForQuestionAnswering`.
    """
    padding = attention_mask == 0
    losses = [
        torch.nn.functional.cross_entropy(logits.float().masked_fill(padding, -torch.inf), positions, reduction="none")
        for logits, positions in ((start_logits, start_positions), (end_logits, end_positions))
    ]
    return (losses[0] + losses[1]) / 2
