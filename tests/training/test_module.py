"""The module: its loss, its mode, its optimizer; and that it learns."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForQuestionAnswering

from qa.data.epochs.batches import EvaluationBatches
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.tokenizer import load_tokenizer, pair_template
from qa.model.loss import span_loss
from qa.model.optimization import parameter_groups, schedule
from qa.model.pretrained import load_model
from qa.training.module import QuestionAnsweringModule


def new_module(tiny: Path) -> QuestionAnsweringModule:
    adam = partial(torch.optim.Adam, lr=1e-3)
    return QuestionAnsweringModule(str(tiny), adam, partial(schedule, name="linear", warmup_ratio=0.0))


def test_dropout_is_on_while_training(tiny: Path) -> None:
    model = new_module(tiny)
    assert all(part.training for part in model.modules())
    ids = torch.tensor([[101, 2040, 102, 2748, 102]])
    ones = torch.ones_like(ids)
    outputs = [model({"input_ids": ids, "attention_mask": ones, "token_type_ids": ones})[0] for _ in range(2)]
    assert not torch.equal(*outputs)


def test_a_half_precision_checkpoint_is_trained_in_float32(tiny: Path, tmp_path: Path) -> None:
    BertForQuestionAnswering.from_pretrained(tiny).half().save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in load_model(str(tmp_path)).model.parameters()} == {torch.float32}


def test_the_loss_is_the_models_own_where_nothing_is_padded(tiny: Path) -> None:
    model = load_model(str(tiny)).model.eval()
    ids, ones = torch.randint(1000, 9000, (4, 20)), torch.ones(4, 20, dtype=torch.int64)
    starts, ends = torch.randint(0, 20, (2, 4))
    own = model(ids, ones, start_positions=starts, end_positions=ends)
    ours = span_loss(own.start_logits, own.end_logits, starts, ends, ones)
    torch.testing.assert_close(ours.mean(), own.loss)


def test_padding_does_not_change_a_windows_loss() -> None:
    logits, mask = torch.randn(2, 3, 9), torch.ones(3, 9, dtype=torch.int64)
    positions = torch.tensor([0, 3, 8])
    wide = torch.cat([logits, torch.full((2, 3, 5), 50.0)], dim=2)
    wide_mask = torch.cat([mask, torch.zeros(3, 5, dtype=torch.int64)], dim=1)
    expected = span_loss(logits[0], logits[1], positions, positions, mask)
    assert torch.equal(span_loss(wide[0], wide[1], positions, positions, wide_mask), expected)
    assert expected.shape == (3,)


def test_decay_is_on_matrices_only(tiny: Path) -> None:
    model = load_model(str(tiny)).model
    optimizer = torch.optim.AdamW(parameter_groups(model.parameters()), lr=1.0, weight_decay=0.5)
    vectors = {name for name, p in model.named_parameters() if any(p is q for q in optimizer.param_groups[1]["params"])}
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    assert optimizer.param_groups[1]["weight_decay"] == 0
    assert vectors == {n for n, _ in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("name", "warmup", "expected"),
    [
        ("linear", 0.0, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("linear", 0.2, [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("linear", 0.21, [0, 1 / 3, 2 / 3, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]),
        ("constant", 0.2, [0, 0.5, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("cosine", 0.0, [1, 0.975528, 0.904508, 0.793893, 0.654508, 0.5, 0.345492, 0.206107, 0.095492, 0.024472]),
    ],
)
def test_schedules(name: Any, warmup: float, expected: list[float]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(optimizer, 10, name, warmup)
    rates = []
    for _ in range(10):
        rates += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected, abs=1e-6)


def test_it_learns_a_small_batch_by_heart(tiny: Path, small_files: tuple[Path, Path]) -> None:
    examples = read_examples(str(small_files[0]), limit=8).examples
    tokenizer = load_tokenizer(str(tiny))
    windows = build_windows(examples, tokenizer, 384, 128)
    batch = EvaluationBatches(windows, examples, pair_template(tokenizer))[torch.arange(8).numpy()]
    model = new_module(tiny).eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = model.losses(model(batch), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 3
    assert losses[-1] < 0.5
