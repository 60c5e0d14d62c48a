"""Logits → n-best spans of every window → answers of every example."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qa.data.arrays import Ints
from qa.evaluation.answers import NBestAnswer

QUESTIONS_AT_ONCE = 4096  # questions with candidates and contexts in arrays at the same time
SPACE = np.array([chr(code).isspace() for code in range(0x3002)])  # by code; all later letters are like the last
# row of the batch, start, end, score: [spans] each
WindowSpans = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer], NDArray[np.float32]]


class Spans(NamedTuple):
    """Spans of several questions."""

    question: Ints  # [spans], as all of these
    start: Ints
    end: Ints
    score: NDArray[np.float32]

    def take(self, which: NDArray[Any] | slice) -> "Spans":
        """The spans at these places."""
        return Spans(self.question[which], self.start[which], self.end[which], self.score[which])


def _joined(pieces: Iterable[Spans]) -> Spans:
    nothing = np.zeros(0, np.int32)
    columns = zip(Spans(nothing, nothing, nothing, nothing.astype(np.float32)), *pieces, strict=True)
    return Spans(*map(np.concatenate, columns))


def window_spans(
    start_logits: Tensor, end_logits: Tensor, context_mask: Tensor, n_best: int, max_answer_length: int
) -> WindowSpans:
    """The `n_best` best spans of every window, exactly: all spans are weighed, not only those of the best ends.

    `start_logits`, `end_logits`: float [batch, length]; `context_mask`: bool [batch, length]. A span starts and ends
    in the context, without a NaN at either end, and has 1 to `max_answer_length` tokens. Returns row, start, end (token
    positions, inclusive) and score, [spans] each, by row; within a row best first, equal scores by start, then by end.
    """
    width = min(max_answer_length, start_logits.shape[1])
    logits = torch.stack([start_logits, end_logits]).float()
    starts, ends = logits.masked_fill(~context_mask | logits.isnan(), -torch.inf)
    ends = torch.nn.functional.pad(ends, (0, width - 1), value=-torch.inf)
    # the n best spans begin at the n starts with the best spans
    best = starts + torch.nn.functional.max_pool1d(ends, width, stride=1)  # [batch, length]
    start = _first(best, n_best).sort(dim=1).values  # [batch, starts]
    follow = ends.unfold(1, width, 1).gather(1, start[:, :, None].expand(-1, -1, width))  # [batch, starts, width]
    scores = (starts.gather(1, start)[:, :, None] + follow).flatten(1)
    cell = _first(scores, n_best)  # [batch, spans]
    start = start.gather(1, cell // width)
    first, last = torch.stack([start, start + cell % width]).int().cpu().numpy()
    score = scores.gather(1, cell).cpu().numpy()
    kept = score > -np.inf
    return np.nonzero(kept)[0].astype(np.int32), first[kept], last[kept], score[kept]


def _first(scores: Tensor, count: int) -> Tensor:
    """Places of the best scores, int64 [batch, count], best first, of equal ones the first; `scores`: [batch, places].

    topk alone leaves open which of equal scores it takes.
    """
    bits = (scores + 0.0).view(torch.int32)  # there is no -0.0 left
    ordered = (bits ^ (bits >> 31 & 0x7FFFFFFF)).long()  # whole numbers in the order of the scores
    places = torch.arange(scores.shape[1], device=scores.device)
    return ((ordered << 32) - places).topk(min(count, len(places))).indices


class NBest(Mapping[str, list[NBestAnswer]]):
    """The best answers of many questions by id, best first: arrays; an answer is made when it is asked for."""

    def __init__(
        self,
        ids: Sequence[str],
        contexts: Sequence[str],
        bounds: NDArray[np.int64],
        spans: tuple[Ints, Ints, NDArray[np.float32], NDArray[np.float64]],
    ) -> None:
        """`ids`, `contexts`: [questions]; question q has the answers `bounds[q]:bounds[q + 1]` of `spans`.

        `spans`: start, end (characters of the context, end-exclusive), score and probability, [answers] each.
        """
        self._rows = {name: row for row, name in enumerate(ids)}
        self._contexts, self._bounds, self._spans = contexts, bounds, spans

    def __getitem__(self, name: str) -> list[NBestAnswer]:
        row = self._rows[name]
        answers = slice(*self._bounds[row : row + 2].tolist())
        return self._answers(answers, repeat(self._contexts[row]))

    def best(self) -> list[NBestAnswer | None]:
        """The best answer of each question, in the order of their ids."""
        begins, answered = self._bounds[:-1], np.diff(self._bounds) > 0
        answers = iter(self._answers(begins[answered], compress(self._contexts, answered)))
        return [next(answers) if is_answered else None for is_answered in answered.tolist()]

    def _answers(self, which: slice | NDArray[np.integer], contexts: Iterable[str]) -> list[NBestAnswer]:
        starts, ends, scores, probabilities = (part[which].tolist() for part in self._spans)
        texts = [context[start:end] for context, start, end in zip(contexts, starts, ends, strict=False)]
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
    texts = [contexts[name] for name in ids]
    spans = _by_question(parts, {name: row for row, name in enumerate(ids)})
    pieces = []
    for begin in range(0, len(ids), QUESTIONS_AT_ONCE):
        block = spans.take(slice(*np.searchsorted(spans.question, [begin, begin + QUESTIONS_AT_ONCE]).tolist()))
        pieces.append(_distinct(_stripped(block, texts[begin : begin + QUESTIONS_AT_ONCE], begin), n_best))
    best = _joined(pieces)
    best = best._replace(score=best.score + 0.0)  # files have no -0.0
    if null_scores:
        zeros = np.zeros(len(ids), np.int32)
        nulls = np.array([null_scores[name] for name in ids], np.float32) + 0.0
        best = _joined([best, Spans(np.arange(len(ids), dtype=np.int32), zeros, zeros, nulls)])
        best = best.take(np.lexsort((-best.score, best.question)))
    bounds = np.searchsorted(best.question, np.arange(len(ids) + 1))
    return NBest(ids, texts, bounds, (best.start, best.end, best.score, _softmax(best.score, bounds)))


def _by_question(parts: Iterable[tuple[Sequence[str], WindowSpans]], rows: Mapping[str, int]) -> Spans:
    """The spans of all parts, each with its question's row instead of its batch's: by question, best first."""
    pieces = []
    for names, (row, start, end, score) in parts:
        questions = np.array([rows[name] for name in names], np.int32)
        pieces.append(Spans(questions[row], start.astype(np.int32), end.astype(np.int32), score))
    all_spans = _joined(pieces)
    return all_spans.take(np.lexsort((all_spans.end, all_spans.start, -all_spans.score, all_spans.question)))


def _stripped(spans: Spans, contexts: Sequence[str], begin: int) -> Spans:
    """Spans without the white space around them, and without those that hold nothing else.

    `contexts`: those of the questions from number `begin` on.
    """
    begins = dict.fromkeys(contexts, 0)
    place = 0
    for context in begins:
        begins[context] = place
        place += len(context)
    letters = np.frombuffer("".join([*begins, "."]).encode("utf-32-le", "surrogatepass"), np.uint32)
    shift = np.array([begins[context] for context in contexts], np.int64)[spans.question - begin]
    first, last = spans.start + shift, spans.end + shift
    while (blank := (first < last) & SPACE[letters[first].clip(max=len(SPACE) - 1)]).any():
        first += blank
    while (blank := (first < last) & SPACE[letters[last - 1].clip(max=len(SPACE) - 1)]).any():
        last -= blank
    places = (first - shift).astype(np.int32), (last - shift).astype(np.int32)
    return Spans(spans.question, *places, spans.score).take(first < last)


def _distinct(spans: Spans, n_best: int) -> Spans:
    """The first `n_best` distinct spans of each question, of spans by question."""
    order = np.lexsort((spans.end, spans.start, spans.question))  # the first of equal ones stays the first
    same = np.ones(len(order), bool)
    same[:1] = False
    for column in (spans.question, spans.start, spans.end):
        same[1:] &= np.diff(column[order]) == 0
    kept = np.ones(len(order), bool)
    kept[order[same]] = False
    distinct = spans.take(kept)
    return distinct.take(np.arange(kept.sum()) - np.searchsorted(distinct.question, distinct.question) < n_best)


def _softmax(scores: NDArray[np.float32], bounds: NDArray[np.integer]) -> NDArray[np.float64]:
    """The softmax of each question's scores, best first, float64 [answers]."""
    probabilities = np.empty(len(scores))
    sizes = np.diff(bounds)
    for size in np.unique(sizes[sizes > 0]):  # equally many at once: a sum's bits depend on how many it adds up
        places = bounds[:-1][sizes == size][:, None] + np.arange(size)
        block = scores[places].astype(np.float64)
        with np.errstate(invalid="ignore"):  # of infinite scores
            weights = np.exp(block - block[:, :1])
        probabilities[places] = weights / weights.sum(axis=1, keepdims=True)
    return probabilities
