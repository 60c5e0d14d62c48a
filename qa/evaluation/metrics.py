"""SQuAD v1.1 exact match and F1, as a torchmetrics metric that counts every example once."""

import hashlib
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(answer: str) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous white space (official SQuAD v1.1)."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, reference: str) -> float:
    """1.0 where both normalise to the same text, else 0.0."""
    return float(normalize(prediction) == normalize(reference))


def f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over normalised words; 0.0 where no word is shared, as officially."""
    predicted, expected = normalize(prediction).split(), normalize(reference).split()
    shared = (Counter(predicted) & Counter(expected)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


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
