"""An evaluation's files and rows, to the bit, beside a plain account of what they hold: one span after the other."""

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.usual import answers as usual
from qa.data.epochs.batches import EvaluationBatch
from qa.data.example import Example, ReferenceAnswer
from qa.evaluation.collect import EvaluatedBatch, collect, evaluate_batch
from qa.runs.predictions import write_predictions

LENGTH = 24
VALUES = [-math.inf, -1e38, -2.0, -0.5, -0.0, 0.0, 0.25, 1.0, 3.0]
TOKENS = ["the ", "a", " ", "\u3000", "mill", ", ", "1912 ", "\U0001f469", "é\n", "of an "]


class Window:
    """A piece of a question's context, its logits and its loss."""

    def __init__(self, draw: st.DrawFn, number: int, name: str, tokens: list[str]) -> None:
        self.number, self.name = number, name
        first = draw(st.integers(0, max(0, len(tokens) - 3)))
        held = draw(st.integers(0, min(LENGTH - 4, len(tokens) - first)))  # none: a question that fills its window
        ends = np.cumsum([len(token) for token in tokens])
        self.mask = np.zeros(LENGTH, bool)
        self.mask[2 : 2 + held] = True
        self.offsets = np.zeros((LENGTH, 2), np.int32)
        self.offsets[self.mask, 1] = ends[first : first + held]
        self.offsets[self.mask, 0] = self.offsets[self.mask, 1] - [len(token) for token in tokens[first : first + held]]
        broken = draw(st.sampled_from([False] * 9 + [True]))
        columns = st.lists(st.sampled_from(VALUES), min_size=LENGTH, max_size=LENGTH)
        values = [[math.nan] * LENGTH] * 2 if broken else [draw(columns), draw(columns)]
        self.starts, self.ends = np.array(values, np.float32)
        self.loss = np.float32(draw(st.floats(0, 9, width=32)))

    def spans(self, longest: int) -> list[tuple[float, int, int]]:
        """(-score, first character, end), all of them, the best first."""
        found = []
        for start in np.flatnonzero(self.mask).tolist():
            for end in range(start, min(LENGTH, start + longest)):
                if self.mask[end] and (score := float(self.starts[start] + self.ends[end])) > -math.inf:
                    found.append((-score, int(self.offsets[start, 0]), int(self.offsets[end, 1])))
        return sorted(found)

    @property
    def null_score(self) -> float:
        """Of the first token."""
        return float(np.nan_to_num(self.starts[0] + self.ends[0]))


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[dict[str, Example], list[list[Window]]]:
    """Questions by id and batches of their windows, some of which come twice."""
    examples: dict[str, Example] = {}
    windows: list[Window] = []
    for question in range(draw(st.integers(1, 4))):
        tokens = ["x", *draw(st.lists(st.sampled_from(TOKENS), max_size=20))]
        references = draw(st.lists(st.sampled_from(["mill", "The Mill,", "1912", "the", "mill of an"]), max_size=3))
        name = f"é{3 - question}"
        examples[name] = Example(
            id=name, question="?", context="".join(tokens), answers=tuple(map(ReferenceAnswer, references)),
            is_impossible=not references,
        )  # fmt: skip
        windows += [Window(draw, len(windows) + n, name, tokens) for n in range(draw(st.integers(1, 3)))]
    windows = draw(st.permutations(windows))
    size = draw(st.integers(1, 4))
    batches = [windows[begin : begin + size] for begin in range(0, len(windows), size)]
    return examples, batches + draw(st.sampled_from([[], batches[-1:]]))


def evaluated(windows: list[Window], n_best: int, longest: int) -> EvaluatedBatch:
    columns = zip(*((w.starts, w.ends, w.mask) for w in windows), strict=True)
    starts, ends, mask = (torch.from_numpy(np.stack(column)) for column in columns)
    offsets = np.stack([window.offsets for window in windows])
    rows, ids = np.array([window.number for window in windows]), [window.name for window in windows]
    batch = EvaluationBatch(rows=rows, ids=ids, context_mask=mask, offsets=offsets)
    return evaluate_batch((starts, ends), batch, torch.tensor([w.loss for w in windows]), n_best, longest)


def plain(example: Example, windows: list[Window], n_best: int, longest: int, v2: bool) -> list[dict[str, Any]]:
    """The candidates of a question."""
    spans = sorted(span for window in windows for span in window.spans(longest)[:n_best])
    places: dict[tuple[int, int], float] = {}
    for negative, start, end in spans:
        text = example.context[start:end]
        start += len(text) - len(text.lstrip())
        if text.strip() and len(places) < n_best:
            places.setdefault((start, start + len(text.strip())), -negative)
    if v2:
        null = min(window.null_score for window in windows)
        places = dict(sorted([*places.items(), ((0, 0), null)], key=lambda item: -item[1]))
    scores = list(places.values())
    weights = np.exp([score - scores[0] for score in scores])
    return [
        {
            "text": example.context[start:end],
            "score": score + 0.0,
            "probability": probability,
            "start": start,
            "end": end,
        }
        for (start, end), score, probability in zip(places, scores, (weights / weights.sum()).tolist(), strict=True)
    ]


@settings(deadline=None, max_examples=200)
@given(evaluations(), st.integers(1, 25), st.integers(1, 30), st.sampled_from([None, 0.0, -1.0, 2.5]))
def test_files_and_rows_are_those_of_a_plain_account(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[dict[str, Example], list[list[Window]]],
    n_best: int,
    longest: int,
    threshold: float | None,
) -> None:
    examples, batches = case
    found = collect([evaluated(windows, n_best, longest) for windows in batches], examples, n_best, threshold)
    by_number = {window.number: window for windows in batches for window in windows}
    nbest, odds, predictions = {}, {}, {}
    for name in sorted(examples):
        mine = [window for _, window in sorted(by_number.items()) if window.name == name]
        nbest[name] = candidates = plain(examples[name], mine, n_best, longest, threshold is not None)
        best = next((candidate for candidate in candidates if candidate["text"]), None)
        if threshold is not None:
            null = next(candidate for candidate in candidates if not candidate["text"])
            odds[name] = null["score"] - best["score"] if best else sys.float_info.max
            best = null if odds[name] > threshold else best
        predictions[name] = best["text"] if best else ""
        row = next(question for question in found.questions if question.id == name)
        place = (best["start"], best["end"]) if best and best["text"] else (None, None)
        assert (row.start, row.end, row.probability) == (*place, best["probability"] if best else None)
        assert row.loss == float(np.mean(np.array([window.loss for window in mine])))
        texts = [answer.text for answer in examples[name].answers]
        known = texts if threshold is None else [text for text in texts if usual.normalize(text)] or [""]
        if known:
            exact = max(usual.exact_match(predictions[name], text) for text in known)
            overlap = max(usual.f1(predictions[name], text) for text in known)
            assert (row.exact_match, row.f1) == (exact, exact if known == [""] else overlap)
        else:
            assert (row.exact_match, row.f1) == (None, None)
    assert found.window_losses.tolist() == [window.loss for _, window in sorted(by_number.items())]
    folder = tmp_path_factory.mktemp("run")
    write_predictions(folder, found)
    files: dict[str, dict[str, Any]] = {"predictions.json": predictions, "nbest.json": nbest}
    files |= {} if threshold is None else {"null_odds.json": odds}
    for file, content in files.items():
        assert (folder / file).read_text(encoding="utf-8") == json.dumps(content, ensure_ascii=False, indent=1)
    assert (folder / "null_odds.json").exists() == (threshold is not None)
