"""The loss of a window's span."""

import torch
from torch import Tensor


def span_loss(
    start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor, attention_mask: Tensor
) -> Tensor:
    """(Cross-entropy of start + of end) / 2 of every window, of several labels their mean, float32 [batch].

    Logits: float [batch, length]; positions: int64 [batch] or [batch, labels], -1 where there are fewer; the softmax
    runs over attended positions only, so that a window's loss does not depend on its neighbours' padding, as it does in
    `BertForQuestionAnswering`.
    """
    padding, losses = attention_mask == 0, []
    for logits, positions in ((start_logits, start_positions), (end_logits, end_positions)):
        labels = positions.view(len(positions), -1)
        log_probabilities = logits.float().masked_fill(padding, -torch.inf).log_softmax(dim=1)
        chosen = log_probabilities.gather(1, labels.clamp(min=0)).where(labels >= 0, 0.0)  # [batch, labels]
        losses.append(-chosen.sum(dim=1) / (labels >= 0).sum(dim=1))
    return (losses[0] + losses[1]) / 2
