"""An evaluation: what every batch leaves, and all of it together as answers, examples and losses by question."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qa.data.batches import Batch
from qa.data.examples import Example
from qa.evaluation.decode import WindowSpans, decode, window_spans
from qa.evaluation.question_table import Evaluation


class Evaluated(NamedTuple):
    """What one evaluated batch leaves."""

    rows: NDArray[np.int64]  # [batch]: window numbers
    ids: list[str]  # [batch]: example ids
    losses: NDArray[np.float32] | None  # [batch]
    spans: WindowSpans  # row of the batch, first and last character, score: [spans] each


def evaluate_batch(
    logits: tuple[Tensor, Tensor], batch: Batch, losses: Tensor | None, n_best: int, max_answer_length: int
) -> Evaluated:
    """A batch's best spans, in characters of their contexts, and its losses.

    `logits`: of starts and of ends, float [batch, length] each; `losses`: float32 [batch], None where nobody knows.
    """
    row, start, end, score = window_spans(*logits, batch["context_mask"], n_best, max_answer_length)
    offsets, rows = np.asarray(batch["offsets"]), np.asarray(batch["rows"])
    spans = row, offsets[row, start, 0], offsets[row, end, 1], score
    return Evaluated(rows, batch["ids"], None if losses is None else losses.cpu().numpy(), spans)


def put_together(
    parts: Sequence[Evaluated], examples: Mapping[str, Example], n_best: int
) -> tuple[Evaluation, NDArray[np.float32]]:
    """The evaluation of all batches, and the loss of each window that was evaluated, float32 [windows], by its number.

    A window that comes more than once, to fill up a rank's share, counts once.
    """
    contexts = {name: example.context for name, example in examples.items()}
    answers = decode(((part.ids, part.spans) for part in parts), contexts, n_best)
    known = [part for part in parts if part.losses is not None]
    if not known:
        return Evaluation(answers, examples, {}), np.zeros(0, np.float32)
    names = [name for part in known for name in part.ids][::-1]
    rows = np.concatenate([part.rows for part in known])[::-1]
    losses = np.concatenate([part.losses for part in known if part.losses is not None])[::-1]
    _, first = np.unique(rows, return_index=True)  # of those that come again the last one
    losses = losses[first]
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names[row] for row in first.tolist()):
        groups.setdefault(name, []).append(place)
    means = {name: float(np.mean(losses[places])) for name, places in groups.items()}
    return Evaluation(answers, examples, means), losses
