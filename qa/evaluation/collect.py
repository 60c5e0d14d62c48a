"""Batches of logits → an `Evaluation`, wherever they were computed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qa.data.epochs.batches import EvaluationBatch
from qa.data.example import Example
from qa.evaluation.answers import Evaluation, given_answer, null_odds, score_question
from qa.evaluation.decode import WindowSpans, decode, window_spans


class EvaluatedBatch(NamedTuple):
    """The results of one evaluated batch."""

    rows: NDArray[np.int64]  # [batch]: window numbers
    ids: list[str]  # [batch]: example ids
    losses: NDArray[np.float32] | None  # [batch]
    spans: WindowSpans  # row of the batch, first and last character, score: [spans] each
    null_scores: NDArray[np.float32]  # [batch]: of the position 0, [CLS], as start and end


def evaluate_batch(
    logits: tuple[Tensor, Tensor], batch: EvaluationBatch, losses: Tensor | None, n_best: int, max_answer_length: int
) -> EvaluatedBatch:
    """A batch's best spans, in characters of their contexts, its losses and null scores.

    `logits`: of starts and of ends, float [batch, length] each; `losses`: float32 [batch], None where they are unknown.
    """
    row, start, end, score = window_spans(*logits, batch["context_mask"], n_best, max_answer_length)
    offsets, rows = np.asarray(batch["offsets"]), np.asarray(batch["rows"])
    spans = row, offsets[row, start, 0], offsets[row, end, 1], score
    starts, ends = (part[:, 0].float() for part in logits)
    null_scores = (starts + ends).nan_to_num().cpu().numpy()  # JSON has no other numbers
    return EvaluatedBatch(rows, batch["ids"], None if losses is None else losses.cpu().numpy(), spans, null_scores)


def join_batches(parts: Sequence[EvaluatedBatch]) -> EvaluatedBatch:
    """Several batches without losses as one. Many small arrays among a model's large ones would hold its memory."""
    rows, ids, _, spans, null_scores = zip(*parts, strict=True)
    row, start, end, score = zip(*spans, strict=True)
    before = np.cumsum([0, *map(len, rows[:-1])])  # windows of the batches before each
    moved = np.concatenate([part + begin for part, begin in zip(row, before, strict=True)])
    all_spans = moved, np.concatenate(start), np.concatenate(end), np.concatenate(score)
    names = [name for part in ids for name in part]
    return EvaluatedBatch(np.concatenate(rows), names, None, all_spans, np.concatenate(null_scores))


def collect(
    parts: Sequence[EvaluatedBatch],
    examples: Mapping[str, Example],
    n_best: int,
    no_answer_threshold: float | None = None,
) -> Evaluation:
    """The evaluation of all batches; `examples`: by id, at least those of the batches.

    A window that comes more than once, to fill up a rank's share, counts once. Questions with null odds above
    `no_answer_threshold` get no answer, and all are scored as SQuAD v2.0 is; None: every question gets one, as in v1.1.
    """
    v2 = no_answer_threshold is not None
    contexts = {name: examples[name].context for part in parts for name in part.ids}
    spans = ((part.ids, part.spans) for part in parts)
    answers = decode(spans, contexts, n_best, lowest_null_scores(parts) if v2 else None)
    window_losses, means = _losses([part for part in parts if part.losses is not None])
    best = (given_answer(candidates, no_answer_threshold) for candidates in answers.values()) if v2 else answers.best()
    questions = [
        score_question(examples[name], answer, loss=means.get(name), v2=v2)
        for name, answer in zip(answers, best, strict=True)
    ]
    odds = {name: null_odds(candidates) for name, candidates in answers.items()} if v2 else None
    return Evaluation(questions, answers, window_losses, odds)


def lowest_null_scores(parts: Sequence[EvaluatedBatch]) -> dict[str, float]:
    """The null score of each question: the lowest of its windows, as most do not hold the answer."""
    lowest: dict[str, float] = {}
    for part in parts:
        for name, score in zip(part.ids, part.null_scores.tolist(), strict=True):
            lowest[name] = min(score, lowest.get(name, score))
    return lowest


def _losses(parts: Sequence[EvaluatedBatch]) -> tuple[NDArray[np.float32], dict[str, float]]:
    """The loss of each window by its number, float32 [windows], and the mean over the windows of each question."""
    if not parts:
        return np.zeros(0, np.float32), {}
    names = [name for part in parts for name in part.ids]
    losses = np.concatenate([part.losses for part in parts if part.losses is not None])
    _, last = np.unique(np.concatenate([part.rows for part in parts])[::-1], return_index=True)
    last = len(names) - 1 - last  # [windows]: where each comes for the last time
    places: dict[str, list[int]] = {}
    for place in last.tolist():
        places.setdefault(names[place], []).append(place)
    means = {name: losses[rows[0]] if len(rows) == 1 else losses[rows].mean() for name, rows in places.items()}
    return losses[last], {name: float(mean) for name, mean in means.items()}
