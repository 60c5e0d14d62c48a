"""Windows against a slow and obvious reference: the tokenizer's own overflow."""

import unicodedata
from typing import Any, NamedTuple

import numpy as np

from qa.data.epochs.batches import EvaluationBatches
from qa.data.example import Example, ReferenceAnswer
from qa.data.windows.build import Windows, build_windows, without_room
from qa.data.windows.tokenizer import pair_template


class Reference(NamedTuple):
    input_ids: list[int]
    token_type_ids: list[int]
    offsets: list[tuple[int, int]]  # of the context's tokens
    label: tuple[int, int]


def overlapping(offsets: list[tuple[int, int]], answer: ReferenceAnswer) -> list[tuple[int, int]]:
    assert answer.answer_start is not None
    text = answer.text.strip()
    first = answer.answer_start + answer.text.index(text)
    return [(begin, stop) for begin, stop in offsets if begin < first + len(text) and stop > first]


def extended(offsets: list[tuple[int, int]], context: str) -> list[tuple[int, int]]:
    """The offsets of all tokens of a context, each with the marks behind it that are in no token."""
    owned = {place for begin, end in offsets for place in range(begin, end)}
    found = []
    for begin, end in offsets:
        while end < len(context) and end not in owned and unicodedata.category(context[end])[0] == "M":
            end += 1
        found.append((begin, end))
    return found


def reference(example: Example, tokenizer: Any, max_length: int, stride: int) -> list[Reference]:
    proper = tokenizer(example.context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    full = extended(proper, example.context)
    with_marks = dict(zip(proper, full, strict=True))
    encoding = tokenizer(
        example.question,
        example.context,
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    windows = []
    for row, ids in enumerate(encoding["input_ids"]):
        context = [position for position, part in enumerate(encoding.sequence_ids(row)) if part == 1]
        offsets = [with_marks[encoding["offset_mapping"][row][position]] for position in context]
        label = (0, 0)
        if example.answers:
            wanted = overlapping(full, example.answers[0])
            held = [p for p, o in zip(context, offsets, strict=True) if overlapping([o], example.answers[0])]
            if wanted and len(held) == len(wanted):
                label = held[0], held[-1]
        types = encoding["token_type_ids"][row] if "token_type_ids" in encoding else [0] * len(ids)
        windows.append(Reference(ids, types, offsets, label))
    return windows


def assert_equal(examples: list[Example], tokenizer: Any, max_length: int, stride: int, types: bool = True) -> Windows:
    """Every window of every example that has room equals the reference's."""
    windows = build_windows(examples, tokenizer, max_length, stride)
    dataset = EvaluationBatches(windows, examples, pair_template(tokenizer))
    lost = set(without_room(windows).tolist())
    expected = [
        (row, window)
        for row, example in enumerate(examples)
        if row not in lost
        for window in reference(example, tokenizer, max_length, stride)
    ]
    assert len(windows) == len(expected)
    for number, (row, wanted) in enumerate(expected):
        batch = dataset[np.array([number])]
        mask = batch["context_mask"][0]
        assert batch["ids"] == [examples[row].id]
        assert batch["input_ids"][0].tolist() == wanted.input_ids
        assert not types or batch["token_type_ids"][0].tolist() == wanted.token_type_ids
        assert batch["attention_mask"].all()
        assert batch["offsets"][0][mask.numpy()].tolist() == [list(offset) for offset in wanted.offsets]
        assert (batch["start_positions"].item(), batch["end_positions"].item()) == wanted.label
    return windows
