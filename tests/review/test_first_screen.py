"""The first screen of a run, from plain values."""

from dataclasses import replace
from pathlib import Path

import pytest

from qa.evaluation.ceiling import Ceiling
from qa.review.first_screen import PlannedSplit, RunPlan, show_plan
from qa.runs.results import EvaluatedPart

PLAN = RunPlan(
    model="minilm",
    parameters=22_700_000,
    trained_head=False,
    splits={"train": PlannedSplit("a.json", 160, 0, 170), "validation": PlannedSplit("b.json", 1, 1, 2)},
    limit=None,
    evaluated=EvaluatedPart(questions=1, of=1),
    lengths="",
    ceilings={"train": Ceiling(exact_match=90.0, f1=95.5, too_long=0.2, length_99=41)},
    max_answer_length=30,
    epoch="",
    steps="22 in 2 epochs",
    padded_share=0.05,
    disk="",
    device="cpu, precision 32-true",
    output=Path("runs/1"),
    sends="",
    problems={"model.pretrained=minilm": "its tokenizer breaks each word", "trainer.precision=32-true": ""},
)


def test_a_fit_shows_its_splits_its_ceiling_and_what_is_wrong_with_it(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    show_plan(PLAN)
    assert capsys.readouterr().out.splitlines() == [
        "model       minilm, 22.7 M parameters, a new span head",
        "train       a.json: 160 questions, 170 windows",
        "validation  b.json: 1 question, 1 of them without an answer, 2 windows",
        "ceiling     train EM 90.00, F1 95.50 at most, with answers of up to 30 tokens",
        "steps       22 in 2 epochs",
        "device      cpu, precision 32-true",
        "output      runs/1",
        "160 training questions: very few; a new span head needs thousands to learn its task. Start from a model that"
        " already answers questions: model.pretrained=RUN/model of a run on more data, or a model of the hub that was"
        " trained on SQuAD.",
    ]
    assert [record.getMessage().partition("; ")[0] for record in caplog.records] == [
        "train: 20.0% of the answers have more than decode.max_answer_length=30 tokens and cannot be predicted",
        "model.pretrained=minilm: its tokenizer breaks each word",
    ]


def test_an_evaluation_of_a_part_says_so_and_needs_no_training_questions(capsys: pytest.CaptureFixture[str]) -> None:
    part = EvaluatedPart(questions=100, of=900)
    test: dict[str, PlannedSplit] = {"test": PlannedSplit("b.json", 900, 0, 1000)}
    show_plan(replace(PLAN, splits=test, limit=900, evaluated=part, steps="", lengths="data.stride=9 (…: 8)"))
    shown = capsys.readouterr().out
    assert (
        "test        b.json: 900 questions (data.limit=900), 1,000 windows; evaluated on 100 of 900 questions, drawn at"
        " random\nlengths     data.stride=9 (…: 8)\n"
    ) in shown
    assert "very few" not in shown and "steps" not in shown
