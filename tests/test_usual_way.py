"""The usual way of `bench/usual/`, beside which the benchmarks measure: it does the same work."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, default_data_collator

from bench.usual.training import INPUTS, LABELS, logits, training_steps
from bench.usual.windows import load, training_windows
from helpers.paths import real_data
from qa.data.epochs.batches import EvaluationBatches
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.tokenizer import pair_template
from qa.model.optimization import schedule
from qa.training.module import QuestionAnsweringModule

QUESTIONS = 200


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, minilm: PreTrainedTokenizerFast) -> Dataset:
    data = load(str(real_data("squadshifts.new_wiki.json")), tmp_path_factory.mktemp("arrow")).select(range(QUESTIONS))
    return training_windows(data, minilm, keep_in_memory=True)


@pytest.fixture(scope="module")
def ours(minilm: PreTrainedTokenizerFast) -> EvaluationBatches:
    examples = read_examples(str(real_data("squadshifts.new_wiki.json")), limit=QUESTIONS).examples
    return EvaluationBatches(build_windows(examples, minilm, 384, 128), examples, pair_template(minilm))


def test_its_windows_and_labels_are_ours(usual: Dataset, ours: EvaluationBatches) -> None:
    batch: Any = ours[np.arange(len(ours.windows))]
    assert len(usual) == len(ours.windows) > QUESTIONS
    length = batch["input_ids"].shape[1]
    for name in INPUTS:
        theirs = torch.tensor(usual[name])
        assert torch.equal(theirs[:, :length], batch[name]), name
        assert not theirs[:, length:].any()
    for name in LABELS:
        assert usual[name] == batch[name].tolist()
    assert 0.8 < np.mean(np.array(usual["end_positions"]) > 0) < 1


def test_its_losses_and_logits_are_ours_where_nothing_is_padded(
    usual: Dataset, ours: EvaluationBatches, exact: Path
) -> None:
    """The model's own loss lets padding into its softmax: so the windows are those of all 384 tokens."""
    rows = np.flatnonzero(ours.windows.lengths() == 384)
    assert len(rows) == 4
    scheduler = partial(schedule, name="linear", warmup_ratio=0.0)
    module = QuestionAnsweringModule(str(exact), torch.optim.AdamW, scheduler)
    loader: Any = DataLoader(usual.select(rows), 4, collate_fn=default_data_collator)
    batch = ours[rows]
    with torch.inference_mode():
        own = module(batch)
    torch.testing.assert_close(next(logits(module.model, loader)), torch.stack(own), atol=1e-6, rtol=0)
    loss = module.losses(own, batch).mean().item()
    assert next(training_steps(module.model, loader, 1)) == pytest.approx(loss, abs=1e-6)


def test_steps_go_through_the_batches_again(usual: Dataset, exact: Path) -> None:
    module = QuestionAnsweringModule(str(exact), torch.optim.AdamW, partial(schedule, name="linear", warmup_ratio=0.0))
    loader: Any = DataLoader(usual.select(range(8)), 4, collate_fn=default_data_collator)
    losses = list(training_steps(module.model, loader, 6))
    assert len(losses) == 6
    assert losses[4] < losses[0]  # of the same windows
