"""The most that answers can score, given how contexts are cut into tokens and how long an answer may be."""

import re
import string
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from qa.data.arrays import Ints
from qa.data.example import Example
from qa.data.reading.answer_places import occurrences
from qa.evaluation.metrics import normalize, scores

if TYPE_CHECKING:  # needs torch, which a look at a run's results does without
    from qa.data.windows.build import Windows

EDGE = rf"[^\s{re.escape(string.punctuation)}]"
WORD = re.compile(rf"{EDGE}(?:\S*{EDGE})?")  # without the punctuation around it
SHORT_ANSWER = 12  # characters, up to which an answer may be articles and punctuation alone


class Ceiling(BaseModel):
    """The most EM and F1, in percent, that answers of at most decode.max_answer_length tokens can have.

    Against the best of all references of a question; over all questions with known answers.
    """

    exact_match: float
    f1: float
    too_long: float  # share of the answers longer than decode.max_answer_length, which are never predicted
    length_99: int  # tokens that 99% of the answers have at most

    def warning(self, max_answer_length: int) -> str:
        """A warning for readers; empty where nearly all answers can be predicted."""
        if self.too_long < 0.01:
            return ""
        return (
            f"{self.too_long:.1%} of the answers have more than decode.max_answer_length={max_answer_length} tokens and"
            f" cannot be predicted; 99% have at most {self.length_99}"
        )


def ceiling(examples: Sequence[Example], windows: "Windows", max_answer_length: int) -> Ceiling | None:
    """The ceiling of the questions that have a window, as in all figures; None where no answer is known."""
    valid = [row for row in np.unique(windows.example).tolist() if examples[row].answers or examples[row].is_impossible]
    answered = [row for row in valid if examples[row].answers]
    if not valid:
        return None
    rows = np.flatnonzero(windows.end_positions > 0)
    labelled, first = np.unique(windows.example[rows], return_index=True)
    rows = rows[first]  # of each example the first window with its answer
    before = windows.question_lengths(rows) + windows.special_tokens[:2].sum()
    token = windows.text_bounds[windows.context[labelled]] + windows.begin[rows] - before
    last = token + windows.end_positions[rows]
    token += windows.start_positions[rows]
    lengths = last - token + 1
    cut = np.stack([windows.offsets[token, 0], windows.offsets[last, 1]], axis=1)  # [labelled, 2]: characters
    wanted = np.array([examples[row].label for row in labelled.tolist()], np.int64).reshape(-1, 2)
    same = (cut == wanted).all(axis=1) & (lengths <= max_answer_length)
    whole = {
        row
        for row, (begin, end) in zip(labelled[same].tolist(), cut[same].tolist(), strict=True)
        if end - begin > SHORT_ANSWER or normalize(examples[row].context[begin:end])
    }
    exact = overlap = float(len(valid) - len(answered) + len(whole))
    for row in answered:
        if row not in whole:
            best = _best_scores(examples[row], windows, row, max_answer_length)
            exact, overlap = exact + best[0], overlap + best[1]
    return Ceiling(
        exact_match=100 * exact / len(valid),
        f1=100 * overlap / len(valid),
        too_long=float((lengths > max_answer_length).sum() / max(len(answered), 1)),
        length_99=int(np.quantile(lengths, 0.99, method="higher")) if len(lengths) else 0,
    )


def _best_scores(example: Example, windows: "Windows", row: int, limit: int) -> tuple[float, float]:
    """The best EM and F1 of the tokens that cover a reference, wherever the context has it, and of parts of them."""
    text = windows.context[row]
    offsets = windows.offsets[windows.text_bounds[text] : windows.text_bounds[text + 1]]
    limit = min(limit, int(windows.length[np.searchsorted(windows.example, row)]))  # of the first, longest window
    references = [answer.text for answer in example.answers]
    exact = overlap = 0.0
    for reference in {reference.strip() for reference in references}:
        for begin in occurrences(example.context, reference):
            first = np.searchsorted(offsets[:, 1], begin, side="right")
            end = np.searchsorted(offsets[:, 0], begin + len(reference), side="left")
            for part in _parts(example.context, offsets[first:end], normalize(reference).split(), limit):
                one = scores(part, references)
                exact, overlap = max(exact, one[0]), max(overlap, one[1])
    return exact, overlap


def _parts(context: str, offsets: Ints, wanted: Sequence[str], limit: int) -> Iterator[str]:
    """The text of these tokens, int32 [tokens, 2], and its part of at most `limit` tokens with most words of `wanted`.

    Each word counts alike in F1, so that no other part scores more.
    """
    if not len(offsets):
        return
    begin, end = offsets[0, 0], offsets[-1, 1]
    if len(offsets) <= limit:
        yield context[begin:end]
    words = [word.span() for word in WORD.finditer(context, begin, end) if normalize(word[0]) in wanted]
    begins, ends = np.array(words, np.int64).reshape(-1, 2).T
    first = np.searchsorted(begins, offsets[:, 0], side="left")  # [tokens]: of the part that begins with each
    after = np.searchsorted(ends, offsets[np.minimum(np.arange(len(offsets)) + limit, len(offsets)) - 1, 1], "right")
    most = int((after - first).argmax())
    if first[most] < after[most]:
        yield context[begins[first[most]] : ends[after[most] - 1]]
