"""A batch carried in parts teaches what the whole would have taught."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.training import Small, batches, train, trained
from qa.data.epochs.batches import Batch, TrainingBatch
from qa.errors import UserError, is_out_of_memory
from qa.model.fast.micro_batches import MicroBatches


@pytest.mark.guarantee(
    "Out of memory, also on one rank only: all ranks halve the batch and have the losses of the whole one"
)
def test_out_of_memory_halves_the_batch_until_it_fits_and_nothing_is_lost(
    exact: Path, small_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    whole, one = trained(exact, small_files, room=99)
    with caplog.at_level(logging.WARNING, "qa"):
        parts, other = trained(exact, small_files, room=3)
    assert len(whole) == len(parts) == 4
    for step, step2 in zip(whole, parts, strict=True):
        assert step2 == pytest.approx(step, abs=1e-4)
    assert other.loss_windows == one.loss_windows == 40
    assert other.loss_sum == pytest.approx(one.loss_sum, abs=1e-3)
    assert 1 <= caplog.text.count("3 windows at a time") <= 4


class NoRoom(Small):
    """Not even for one window of an evaluation."""

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.training:
            raise torch.OutOfMemoryError
        return super().forward(batch)


def test_an_evaluation_that_does_not_fit_is_computed_in_parts(
    exact: Path, small_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = train(Small, exact, small_files[0], size=3, validated=True)
    with caplog.at_level(logging.WARNING, "qa"):
        other, _ = train(Small, exact, small_files[0], room=3, size=3, validated=True)
    assert other.figures == pytest.approx(one.figures, rel=1e-6)
    assert other.evaluated_windows == one.evaluated_windows == 17
    assert caplog.text.count("3 windows at a time") == 1  # known for the second batch
    with pytest.raises(UserError, match=r"out of memory with 1 window"):
        train(NoRoom, exact, small_files[0], validated=True)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error\nCuda failure 2 'out of memory'",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12",
    ],
)
def test_a_lack_of_memory_is_known_in_all_its_forms(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_parts_have_the_dropout_of_the_whole_batch(tiny: Path, small_files: tuple[Path, Path]) -> None:
    whole, _ = trained(tiny, small_files, room=99)
    parts, _ = trained(tiny, small_files, room=4, size=4)
    for step, step2 in zip(whole, parts, strict=True):
        assert step2 == pytest.approx(step, abs=1e-4)


def test_a_size_can_be_given(exact: Path, small_files: tuple[Path, Path]) -> None:
    whole, _ = trained(exact, small_files, room=99)
    parts, _ = trained(exact, small_files, room=4, size=4)
    for step, step2 in zip(whole, parts, strict=True):
        assert step2 == pytest.approx(step, abs=1e-4)
    with pytest.raises(UserError, match=r"out of memory with 4 windows .* lower data\.micro_batch_size"):
        trained(exact, small_files, room=3, size=4)


def test_one_window_that_does_not_fit_is_reported(exact: Path, small_files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"out of memory with 1 window of 64 tokens at once; lower"):
        trained(exact, small_files, room=0)


def test_parts_hold_every_window_once(exact: Path, small_files: tuple[Path, Path]) -> None:
    batch = batches(exact, small_files[0])[np.arange(10)]
    parts = MicroBatches(4).split(batch)
    assert [len(part["input_ids"]) for part in parts] == [4, 4, 2]
    assert sum(len(part["input_ids"]) * part["weight"] for part in parts) == pytest.approx(1)
    begin = 0
    for part in parts:
        rows, length = slice(begin, begin + len(part["input_ids"])), part["input_ids"].shape[1]
        assert torch.equal(part["input_ids"], batch["input_ids"][rows, :length])
        assert not batch["attention_mask"][rows, length:].any()
        begin = rows.stop


def test_a_rank_one_part_short_repeats_a_window_with_weight_0(exact: Path, small_files: tuple[Path, Path]) -> None:
    ranks = [batches(exact, small_files[0], rank, 2)[np.arange(9)] for rank in range(2)]
    parts = [MicroBatches(4).split(rank) for rank in ranks]
    assert [[len(part["input_ids"]) for part in rank] for rank in parts] == [[4, 1], [4, 1]]
    assert [len(part["input_ids"]) * part["weight"] for part in parts[1]] == pytest.approx([4 / 9, 0])


def test_a_longer_batch_takes_no_more_than_a_shorter_one() -> None:
    sizes = MicroBatches()
    short, long, shorter = (TrainingBatch(share=16, longest=longest) for longest in (100, 200, 50))
    sizes.halve(short)
    assert (sizes.size(short), sizes.size(long), sizes.size(shorter)) == (8, 8, 16)


class Nan(Small):
    """One window has no finite loss."""

    def losses(self, logits: tuple[torch.Tensor, torch.Tensor], batch: Batch) -> torch.Tensor:
        losses = super().losses(logits, batch)
        return torch.where(torch.as_tensor(batch["rows"]) == 17, torch.nan, losses)


def test_a_step_that_is_not_finite_can_be_left_out(
    exact: Path, small_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Windows 14 to 23 are the third batch."""
    with pytest.raises(UserError, match=r"step 3: the loss is nan, .* \(questions\) 17 \(\S+\); .* nonfinite=skip"):
        train(Nan, exact, small_files[0], nonfinite="stop")
    before, _ = train(Nan, exact, small_files[0], steps=2)
    after, losses = train(Nan, exact, small_files[0], steps=3, nonfinite="skip")
    weights = before.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in after.state_dict().items())
    assert (after.nonfinite_steps, after.loss_windows, len(losses)) == (1, 20, 3)
    assert "17 (" in caplog.text
