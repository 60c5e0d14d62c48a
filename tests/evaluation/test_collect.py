"""An evaluation of many batches: the same files, byte by byte, as a plain account of what they hold gives."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from qa.data.epochs.batches import EvaluationBatch
from qa.data.example import Example
from qa.evaluation.collect import EvaluatedBatch, collect, evaluate_batch
from qa.runs.predictions import WrittenAnswers, write_predictions

N_BEST, LENGTH, BATCH = 20, 40, 8


@pytest.fixture(scope="module")
def evaluated() -> tuple[list[EvaluatedBatch], dict[str, Example], dict[str, dict[int, float]]]:
    """30 questions of one to three windows each, few distinct logits, odd texts and ids; and each window's loss."""
    generator = torch.Generator().manual_seed(0)
    letters = 'ab \u3000é北\U0001f469"\\\u2028'
    windows: list[tuple[str, int]] = []
    examples: dict[str, Example] = {}
    losses: dict[str, dict[int, float]] = {}
    for number in range(30):
        text = "".join(letters[i] for i in torch.randint(len(letters), (90,), generator=generator))
        name = f'{"é北"[number % 2]}"{(number * 7) % 30}\\'
        examples[name] = Example(id=name, question="who ?", context=f"x{text}")
        windows += [(name, begin) for begin in range(0, 1 + 25 * (number % 3), 25)]
    order = torch.randperm(len(windows), generator=generator).tolist()
    parts = []
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        logits = torch.randint(-4, 5, (2, len(rows), LENGTH), generator=generator) / 4
        mask = torch.zeros(len(rows), LENGTH, dtype=torch.bool)
        mask[:, 3:30] = torch.tensor([number > 0 for number in rows])[:, None]  # one has no token of its context
        offsets = np.zeros((len(rows), LENGTH, 2), np.int32)
        for row, number in enumerate(rows):
            offsets[row, :, 0] = windows[number][1] + np.arange(LENGTH)
        offsets[..., 1] = offsets[..., 0] + 1
        ids = [windows[number][0] for number in rows]
        found = torch.rand(len(rows), generator=generator)
        batch = EvaluationBatch(rows=np.array(rows), ids=ids, context_mask=mask, offsets=offsets)
        parts.append(evaluate_batch((logits[0], logits[1]), batch, found, N_BEST, 30))
        for number, name, loss in zip(rows, ids, found.numpy(), strict=True):
            losses.setdefault(name, {})[number] = loss
    return [*parts, parts[-1]], examples, losses  # the last batch comes twice, as where ranks have unequal shares


def test_predictions_and_candidates_are_what_a_plain_account_gives(
    evaluated: tuple[list[EvaluatedBatch], dict[str, Example], dict[str, dict[int, float]]], tmp_path: Path
) -> None:
    parts, examples, losses = evaluated
    nbest = {}
    for name in sorted(examples):
        spans = set()
        for part in parts:
            for row, start, end, score in zip(*(column.tolist() for column in part.spans), strict=True):
                if part.ids[row] == name:
                    spans.add((-score, start, end))
        places: dict[tuple[int, int], float] = {}
        context = examples[name].context
        for negative, start, end in sorted(spans):
            text = context[start:end]
            start += len(text) - len(text.lstrip())
            if text.strip() and len(places) < N_BEST:
                places.setdefault((start, start + len(text.strip())), -negative)
        scores = list(places.values())
        weights = np.exp([score - scores[0] for score in scores])
        nbest[name] = [
            {"text": context[start:end], "score": score, "probability": probability, "start": start, "end": end}
            for (start, end), score, probability in zip(places, scores, (weights / weights.sum()).tolist(), strict=True)
        ]
    evaluation = collect(parts, examples, N_BEST)
    write_predictions(tmp_path, evaluation)
    predictions = {name: best[0]["text"] if best else "" for name, best in nbest.items()}
    for file, content in (("predictions.json", predictions), ("nbest.json", nbest)):
        assert (tmp_path / file).read_text(encoding="utf-8") == json.dumps(content, ensure_ascii=False, indent=1)
    assert any(len(best) == N_BEST for best in nbest.values()) and [] in nbest.values()
    assert [answer._asdict() for answer in WrittenAnswers(tmp_path / "nbest.json")[list(nbest)[2]]] == nbest[
        list(nbest)[2]
    ]
    assert {question.id: question.loss for question in evaluation.questions} == {
        name: float(np.mean([found[row] for row in sorted(found)])) for name, found in losses.items()
    }
    by_row = {row: loss for found in losses.values() for row, loss in found.items()}
    assert evaluation.window_losses.tolist() == [by_row[row] for row in sorted(by_row)]


def test_without_losses_and_without_questions(
    evaluated: tuple[list[EvaluatedBatch], dict[str, Example], dict[str, dict[int, float]]], tmp_path: Path
) -> None:
    parts, examples, _ = evaluated
    evaluation = collect([part._replace(losses=None) for part in parts], examples, 1)
    assert len(evaluation.window_losses) == 0
    assert {question.loss for question in evaluation.questions} == {None}
    assert all(math.isclose(best[0].probability, 1) for best in evaluation.answers.values() if best)
    nothing = collect([], {}, 20)
    assert (dict(nothing.answers), len(nothing.window_losses)) == ({}, 0)
    write_predictions(tmp_path, nothing)
    assert (tmp_path / "nbest.json").read_text() == json.dumps({}, indent=1)
