"""The labels of training: the first reference answer, the one that agrees best with all, or each."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from qa.data.datamodule import SquadDataModule
from qa.data.example import Example, Label, ReferenceAnswer
from qa.data.windows.build import build_windows
from qa.data.windows.labels import consensus, training_labels
from qa.model.loss import span_loss

CONTEXT = "The old bridge over the river was opened by the queen in the spring of 1932 after six years of work. "
ANSWERS = ["in the spring of 1932", "1932", "the spring of 1932", "1932"]


def question(name: str, *answers: str) -> Example:
    places = [ReferenceAnswer(text, CONTEXT.index(text)) for text in answers]
    return Example(id=name, question="When was it opened?", context=CONTEXT * 4, answers=tuple(places))


@pytest.mark.parametrize(
    ("which", "texts"),
    [
        ("first", ["in the spring of 1932"]),
        ("consensus", ["1932"]),
        ("all", ANSWERS),
    ],
)
def test_a_windows_labels_are_the_answers_that_it_holds(
    which: Label, texts: list[str], minilm: PreTrainedTokenizerFast
) -> None:
    examples = [question("many", *ANSWERS), question("one", "the queen"), question("none")]
    windows = build_windows(examples, minilm, 40, 8)
    labels = training_labels(windows, examples, which)
    assert labels.shape == (len(windows), len(texts), 2)
    first = windows.begin == 0
    for name, answers in enumerate((texts, ["the queen"], [])):
        row = np.flatnonzero(first & (windows.example == name))[0]
        shown = []
        for start, end in labels[row].tolist():
            if end > 0:
                before = windows.question_lengths()[row] + windows.special_tokens[:2].sum()
                tokens = windows.text_bounds[windows.context[name]] + np.array([start, end]) - before
                shown.append(CONTEXT[windows.offsets[tokens[0], 0] : windows.offsets[tokens[1], 1]])
        assert shown == answers
    assert (labels[~first].max(axis=1) == 0).all()  # no other window holds an answer
    assert (labels[:, 0] >= 0).all()
    assert (labels[windows.example > 0, 1:] == -1).all()


def test_the_first_label_is_the_evaluations(minilm: PreTrainedTokenizerFast) -> None:
    examples = [question("many", *ANSWERS), question("one", "the queen")]
    windows = build_windows(examples, minilm, 40, 8)
    evaluated = np.stack([windows.start_positions, windows.end_positions], axis=1)
    assert all(np.array_equal(training_labels(windows, examples, which)[:, 0], evaluated) for which in ("first", "all"))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=6))
def test_the_consensus_is_an_answer_and_the_majoritys_where_there_is_one(places: list[tuple[int, int]]) -> None:
    spans = [(begin, begin + length) for begin, length in places]
    assert consensus(spans) in spans
    assert consensus([*spans, *[(7, 9)] * (len(spans) + 1)]) == (7, 9)


@given(st.integers(1, 5), st.integers(0, 2**31))
def test_the_loss_of_several_labels_is_the_mean_over_them(labels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 9, generator=generator)
    mask = (torch.arange(9) < torch.tensor([9, 6, 4])[:, None]).long()
    positions = torch.randint(0, 4, (2, 3, labels), generator=generator)

    def loss(of: torch.Tensor) -> torch.Tensor:
        return span_loss(logits[0], logits[1], of[0], of[1], mask)

    single = torch.stack([loss(positions[:, :, label]) for label in range(labels)])
    torch.testing.assert_close(loss(positions), single.mean(dim=0))
    fewer = torch.cat([positions, torch.full((2, 3, 2), -1)], dim=2)
    assert torch.equal(loss(fewer), loss(positions))


@pytest.mark.parametrize("texts", [(CONTEXT[:90], "1932", "1932"), (CONTEXT[:90],)])
def test_answers_that_no_window_holds_are_counted_and_a_label_without_effect_is_named(
    texts: tuple[str, ...], minilm: PreTrainedTokenizerFast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first answer is longer than a window; the one that agrees best is not."""
    answers = [{"text": text, "answer_start": CONTEXT.index(text)} for text in texts]
    entry = {"id": "a", "question": "When?", "context": CONTEXT, "answers": answers}
    (tmp_path / "own.jsonl").write_text(json.dumps(entry) + "\n")
    lost: dict[Label, bool] = {"first": True, "consensus": False, "all": False}
    for label, is_lost in lost.items():
        caplog.clear()
        data = SquadDataModule(
            train_file=str(tmp_path / "own.jsonl"),
            max_length=20,
            stride=4,
            label=label,
            cache_dir=str(tmp_path / "cache"),
        )
        data.prepare_split("train", minilm)
        has_one = len(texts) == 1
        assert ("1 answers are whole in no window and are trained as (0, 0)" in caplog.text) == (is_lost or has_one)
        no_effect = f"no question has several answers: data.label={label} changes nothing"
        assert (no_effect in caplog.text) == (has_one and label != "first")
