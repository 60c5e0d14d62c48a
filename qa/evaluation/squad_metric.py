"""SQuAD v1.1 as a torchmetrics metric, for other programs."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from qa.evaluation.metrics import scores


class SquadMetric(Metric):
    """The best EM and F1 against any reference, in percent: the mean over examples, each id once."""

    full_state_update = False
    rows: list[Tensor]

    def __init__(self, **settings: Any) -> None:
        """`settings`: torchmetrics' own, such as `sync_on_compute`."""
        super().__init__(**settings)
        self.add_state("rows", default=[], dist_reduce_fx="cat")  # float64 [examples, 4]: a hash of the id, EM and F1

    def update(self, predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
        """`predictions`: {id: answer}; `references`: {id: answers}, at least one for each id in `predictions`."""
        rows = []
        for name, answer in predictions.items():
            digest = hashlib.blake2b(name.encode(), digest_size=12).digest()
            key = (int.from_bytes(part) for part in (digest[:6], digest[6:]))  # a float64 has 53 bits
            rows.append([*key, *scores(answer, references[name])])
        # on the CPU, whatever device it was moved to: Apple's GPUs know no float64
        self.rows.append(torch.tensor(rows, dtype=torch.float64).reshape(-1, 4))

    def compute(self) -> dict[str, Tensor]:
        """{"exact_match", "f1"}: percent, float64. NaN before any example came."""
        nothing = torch.empty(0, 4, dtype=torch.float64)
        rows = torch.cat([nothing, *self.rows]) if isinstance(self.rows, list) else self.rows
        _, first = np.unique(rows[:, :2].cpu().numpy(), axis=0, return_index=True)  # of each id
        exact, overlap = 100 * rows[first, 2:].mean(dim=0)
        return {"exact_match": exact, "f1": overlap}
