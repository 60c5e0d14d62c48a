"""Logits → n-best spans of every window → answers of every example."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor


class Span(NamedTuple):
    """A candidate answer: the sum of its two logits, and its characters in the context, end-exclusive."""

    score: float
    start: int
    end: int


class NBestAnswer(BaseModel):
    """One line of `nbest.json`: a candidate, its text, and its probability among the candidates of its question."""

    text: str
    score: float
    probability: float
    start: int
    end: int


# row of the batch, start, end, score: [spans] each
WindowSpans = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer], NDArray[np.float32]]


def window_spans(
    start_logits: Tensor, end_logits: Tensor, context_mask: Tensor, n_best: int, max_answer_length: int
) -> WindowSpans:
    """The `n_best` best spans of every window, exactly: all spans are weighed, not only those of the best ends.

    `start_logits`, `end_logits`: float [batch, length]; `context_mask`: bool [batch, length]. A span starts and ends
    in the context and has 1 to `max_answer_length` tokens. Returns row, start, end (token positions, inclusive) and
    score, [spans] each, by row; within a row best first, equal scores by start, then by end.
    """
    batch, length = start_logits.shape
    width = min(max_answer_length, length)
    lowest = torch.finfo(torch.float32).min
    starts = start_logits.float().masked_fill(~context_mask, -torch.inf)
    ends = torch.nn.functional.pad(
        end_logits.float().masked_fill(~context_mask, -torch.inf), (0, width - 1), value=-torch.inf
    )
    # [batch, length, width]: the span that starts at s and has w + 1 tokens
    scores = (starts[:, :, None] + ends.unfold(1, width, 1)).reshape(batch, -1)
    # topk alone leaves open which of equal scores it takes: keep all that reach its last, then sort by position too
    last = scores.topk(min(n_best, scores.shape[1])).values[:, -1:].clamp(min=lowest)
    kept = (scores >= last).nonzero()
    row, cell = kept.T.cpu().numpy()
    score = scores[kept[:, 0], kept[:, 1]].cpu().numpy()
    order = np.lexsort((cell, -score, row))
    row, cell, score = row[order], cell[order], score[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    row, cell, score = row[rank < n_best], cell[rank < n_best], score[rank < n_best]
    start = cell // width
    return row, start, start + cell % width, score


def add_spans(candidates: dict[str, list[Span]], ids: Sequence[str], spans: WindowSpans) -> None:
    """Files the spans of a batch under their example's id; an example without any gets an empty list.

    `ids`: [batch]; `spans`: row of the batch, first character and end in the context, score.
    """
    lists = [candidates.setdefault(name, []) for name in ids]
    for row, begin, end, score in zip(*(part.tolist() for part in spans), strict=True):
        lists[row].append(Span(score, begin, end))


def best_answers(candidates: Sequence[Span], context: str, n_best: int) -> list[NBestAnswer]:
    """The best `n_best` of all windows' candidates of one example, best first, equal scores by start, then by end.

    A span that several windows hold counts once, with its best score. The text is cut from the context, without white
    space around it, which a byte-level tokenizer makes part of a token; probability is a softmax of the scores over
    the answers returned.
    """
    distinct: dict[tuple[int, int], Span] = {}
    for score, begin, end in sorted(candidates, key=lambda span: (-span.score, span.start, span.end)):
        text = context[begin:end]
        start = begin + len(text) - len(text.lstrip())
        if place := text.strip():
            distinct.setdefault((start, start + len(place)), Span(score, start, start + len(place)))
        if len(distinct) == n_best:
            break
    best = list(distinct.values())
    weights = np.exp([span.score - best[0].score for span in best])
    return [
        NBestAnswer(text=context[s.start : s.end], score=s.score, probability=float(p), start=s.start, end=s.end)
        for s, p in zip(best, weights / weights.sum(), strict=True)
    ]
