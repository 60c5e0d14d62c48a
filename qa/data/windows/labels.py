"""The labels of training: one reference answer of each question, or all of them."""

from collections.abc import Sequence

import numpy as np

from qa.data.arrays import Ints
from qa.data.example import Example, Label
from qa.data.windows.build import Windows, distinct_texts, label_positions


def training_labels(windows: Windows, examples: Sequence[Example], which: Label) -> Ints:
    """First and last token of each label, positions in the window, [windows, labels, 2].

    0 where the window does not hold the answer; -1 where an example has fewer answers than another, never as its first
    label. "first" and "consensus" are one label a window.
    """
    if which == "first":
        return np.stack([windows.start_positions, windows.end_positions], axis=1)[:, None]
    spans = [[consensus(example.labels)] if which == "consensus" else example.labels for example in examples]
    texts, _, _ = distinct_texts(examples)
    columns = []
    for place in range(max(map(len, spans), default=1)):
        of_place = [answers[place] if place < len(answers) else None for answers in spans]
        labels = np.stack(label_positions(windows, texts, of_place), axis=1)
        has_label = np.array([place == 0 or place < len(answers) for answers in spans])
        columns.append(np.where(has_label[windows.example, None], labels, -1))
    return np.stack(columns, axis=1).astype(np.int32)


def consensus(spans: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The answer that agrees best with all: the highest mean F1 over characters, of equal ones the first."""
    return max(spans, key=lambda span: sum(_agreement(span, other) for other in spans), default=None)


def _agreement(one: tuple[int, int], other: tuple[int, int]) -> float:
    """F1 over the characters of two spans."""
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return 2 * shared / max(1, one[1] - one[0] + other[1] - other[0])
