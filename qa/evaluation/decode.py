"""Logits → n-best spans of every window → answers of every example."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qa.evaluation.answers import NBestAnswer

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


class NBest(Mapping[str, list[NBestAnswer]]):
    """The best answers of many questions by id, best first: arrays, of which an answer is made when it is asked for."""

    def __init__(
        self,
        ids: Sequence[str],
        contexts: Sequence[str],
        bounds: NDArray[np.int64],
        spans: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]],
    ) -> None:
        """`ids`, `contexts`: [questions]; question q has the answers `bounds[q]:bounds[q + 1]` of `spans`.

        `spans`: start, end (characters of the context, end-exclusive), score and probability, [answers] each.
        """
        self._rows = {name: row for row, name in enumerate(ids)}
        self._contexts, self._bounds, self._spans = contexts, bounds, spans

    def __getitem__(self, name: str) -> list[NBestAnswer]:
        row = self._rows[name]
        context, answers = self._contexts[row], slice(*self._bounds[row : row + 2].tolist())
        starts, ends, scores, probabilities = (part[answers].tolist() for part in self._spans)
        texts = (context[start:end] for start, end in zip(starts, ends, strict=True))
        return list(map(NBestAnswer, texts, scores, probabilities, starts, ends))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def decode(
    parts: Iterable[tuple[Sequence[str], WindowSpans]],
    contexts: Mapping[str, str],
    n_best: int,
    null_scores: Mapping[str, float] | None = None,
) -> NBest:
    """The best `n_best` answers of every question in `contexts`, {id: context}, over all its windows.

    `parts`: a batch's example ids, [batch], and its spans: row of the batch, first character and end in the context,
    score. Best first, equal scores by start, then by end. A span that several windows hold counts once, with its best
    score. The text is cut from the context, without white space around it, which a byte-level tokenizer makes part of a
    token; probability is a softmax of the scores over a question's answers. `null_scores`, by id, add the null answer,
    as the text from character 0 to 0, behind spans of the same score.
    """
    ids = sorted(contexts)
    question, start, end, score = _by_question(parts, {name: row for row, name in enumerate(ids)})
    edges = np.searchsorted(question, np.arange(len(ids) + 1))
    bounds = np.zeros(len(ids) + 1, np.int64)
    most = int(np.minimum(np.diff(edges), n_best).sum()) + (len(ids) if null_scores else 0)
    starts, ends, scores = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.float32)
    probabilities = np.empty(most, np.float64)
    for row, name in enumerate(ids):
        part = slice(*edges[row : row + 2].tolist())
        candidates = zip(start[part].tolist(), end[part].tolist(), score[part].tolist(), strict=True)
        best = _distinct(candidates, contexts[name], n_best)
        if null_scores:
            best = dict(sorted([*best.items(), ((0, 0), null_scores[name])], key=lambda answer: -answer[1]))
        bounds[row + 1] = bounds[row] + len(best)
        if best:
            place, values = slice(*bounds[row : row + 2].tolist()), list(best.values())
            starts[place], ends[place] = zip(*best, strict=True)
            scores[place] = values
            weights = np.exp([value - values[0] for value in values])
            probabilities[place] = weights / weights.sum()
    kept = int(bounds[-1])
    spans = starts[:kept], ends[:kept], scores[:kept], probabilities[:kept]
    return NBest(ids, [contexts[name] for name in ids], bounds, spans)


def _by_question(parts: Iterable[tuple[Sequence[str], WindowSpans]], rows: Mapping[str, int]) -> WindowSpans:
    """All spans, each with its question's row instead of its batch's: by question, best first."""
    nothing = np.zeros(0, np.int32)
    pieces = [(nothing, nothing, nothing, nothing.astype(np.float32))]
    for names, (row, start, end, score) in parts:
        questions = np.array([rows[name] for name in names], np.int32)
        pieces.append((questions[row], start.astype(np.int32), end.astype(np.int32), score))
    question, start, end, score = (np.concatenate(column) for column in zip(*pieces, strict=True))
    order = np.lexsort((end, start, -score, question))
    return question[order], start[order], end[order], score[order]


def _distinct(spans: Iterable[tuple[int, int, float]], context: str, n_best: int) -> dict[tuple[int, int], float]:
    """The first `n_best` distinct places that spans, best first, mark in the context, with their scores."""
    found: dict[tuple[int, int], float] = {}
    for begin, end, score in spans:
        text = context[begin:end]
        start = begin + len(text) - len(text.lstrip())
        if place := text.strip():
            found.setdefault((start, start + len(place)), score)
        if len(found) == n_best:
            break
    return found
