"""SQuAD v1.1 as a torchmetrics metric, for other programs: counts every example once."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from qa.evaluation.metrics import exact_match, f1


class SquadMetric(Metric):
    """Mean over examples of the best EM and F1 against any reference, in percent.

    Keyed by example id: an id that comes again, from another process or a sampler's padding, counts once.
    """

    full_state_update = False
    keys: list[Tensor]
    values: list[Tensor]

    def __init__(self, **settings: Any) -> None:
        """`settings`: torchmetrics' own, such as `sync_on_compute`."""
        super().__init__(**settings)
        self.add_state("keys", default=[], dist_reduce_fx="cat")  # int64 [examples, 2]: a hash of the id
        self.add_state("values", default=[], dist_reduce_fx="cat")  # float64 [examples, 2]: EM and F1 in [0, 1]

    def update(self, predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
        """`predictions`: {id: answer}; `references`: {id: answers}, at least one for each id in `predictions`."""
        if not predictions:
            return
        keys, values = [], []
        for name, answer in predictions.items():
            digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
            keys.append([int.from_bytes(part, "big", signed=True) for part in (digest[:8], digest[8:])])
            values.append([max(score(answer, text) for text in references[name]) for score in (exact_match, f1)])
        # on the CPU, whatever device it was moved to: Apple's GPUs know no float64
        self.keys.append(torch.tensor(keys, dtype=torch.int64))
        self.values.append(torch.tensor(values, dtype=torch.float64))

    def compute(self) -> dict[str, Tensor]:
        """{"exact_match", "f1"}: percent, float64. NaN before any example came."""
        if not len(self.keys):
            return {"exact_match": torch.tensor(torch.nan), "f1": torch.tensor(torch.nan)}
        keys = torch.cat(self.keys) if isinstance(self.keys, list) else self.keys
        values = torch.cat(self.values) if isinstance(self.values, list) else self.values
        _, group = keys.unique(dim=0, return_inverse=True)
        last = torch.empty(int(group.max()) + 1, 2, dtype=values.dtype, device=values.device)
        last[group] = values
        exact, overlap = 100 * last.mean(dim=0)
        return {"exact_match": exact, "f1": overlap}
