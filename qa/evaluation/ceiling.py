"""What the best possible predictions of a split would score, given how its contexts are cut into tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from qa.data.example import Example
from qa.evaluation.metrics import exact_match, f1, normalize

if TYPE_CHECKING:  # needs torch, which a look at a run's results does without
    from qa.data.windows import Windows

SHORT = 12  # characters, up to which an answer may be articles and punctuation alone


class Ceiling(BaseModel):
    """EM and F1, in percent, of the labels cut by the tokenizer's offsets, over all questions with known answers."""

    exact_match: float
    f1: float
    too_long: float  # share of the answers longer than decode.max_answer_length, which are never predicted
    length_99: int  # tokens that 99% of the answers have at most

    def warning(self, max_answer_length: int) -> str:
        """What a reader should know; empty where nearly all answers can be predicted."""
        if self.too_long < 0.01:
            return ""
        return (
            f"{self.too_long:.1%} of the answers have more than decode.max_answer_length={max_answer_length} tokens and"
            f" cannot be predicted; 99% have at most {self.length_99}"
        )


def ceiling(examples: Sequence[Example], windows: "Windows", max_answer_length: int) -> Ceiling | None:
    """None where no answer is known. An answer that no window holds whole scores 0."""
    labels = [example.label for example in examples]
    known = [row for row, label in enumerate(labels) if label or examples[row].is_impossible]
    answerable = np.array([row for row in known if labels[row]], np.int64)
    if not known:
        return None
    rows = np.flatnonzero(windows.end_positions > 0)
    held, first = np.unique(windows.example[rows], return_index=True)
    rows = rows[first]  # of each example the first window with its answer
    before = windows.question_lengths(rows) + windows.special_tokens[:2].sum()
    token = windows.text_bounds[windows.context[held]] + windows.begin[rows] - before
    last = token + windows.end_positions[rows]
    token += windows.start_positions[rows]
    cut = np.stack([windows.offsets[token, 0], windows.offsets[last, 1]], axis=1)  # [held, 2]: characters
    wanted = np.array([labels[row] for row in held.tolist()], np.int64).reshape(-1, 2)
    exact, overlap = float(len(known) - len(answerable)), float(len(known) - len(answerable))
    for row, (begin, end), same in zip(held.tolist(), cut.tolist(), (cut == wanted).all(axis=1).tolist(), strict=True):
        text = examples[row].context[begin:end]
        if same and (end - begin > SHORT or normalize(text)):
            exact, overlap = exact + 1, overlap + 1
        else:
            answers = examples[row].answers
            exact += max(exact_match(text, answer.text) for answer in answers)
            overlap += max(f1(text, answer.text) for answer in answers)
    lengths = last - token + 1
    return Ceiling(
        exact_match=100 * exact / len(known),
        f1=100 * overlap / len(known),
        too_long=float((lengths > max_answer_length).sum() / max(len(answerable), 1)),
        length_99=int(np.quantile(lengths, 0.99, method="higher")) if len(lengths) else 0,
    )
