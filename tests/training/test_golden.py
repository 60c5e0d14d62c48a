"""The losses of a fit are those of earlier commits."""

from functools import partial
from pathlib import Path

import lightning
import pytest
import torch

from helpers.golden import check_golden
from helpers.training import Losses
from qa import QuestionAnsweringModule, SquadDataModule, schedule
from qa.data.windows.tokenizer import load_tokenizer

STEPS = 50


@pytest.mark.usefixtures("one_thread")
def test_the_losses_are_golden(
    tiny: Path, small_files: tuple[Path, Path], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """With dropout: order, masks, gradients, clipping, optimizer and schedule all have a part in them."""
    data = SquadDataModule(
        train_file=str(small_files[0]), cache_dir=str(tmp_path), batch_size=8, max_length=64, stride=16
    )
    data.connect(load_tokenizer(str(tiny)))
    linear, losses = partial(schedule, name="linear", warmup_ratio=0.1), Losses()
    module = QuestionAnsweringModule(str(tiny), partial(torch.optim.Adam, lr=1e-4), linear, total_steps=STEPS)
    lightning.Trainer(
        accelerator="cpu", devices=1, max_steps=STEPS, gradient_clip_val=1.0, callbacks=[losses], limit_val_batches=0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(module, datamodule=data)  # fmt: skip
    assert len(losses.found) == STEPS
    check_golden("losses", [loss for loss, _ in losses.found], pytestconfig)
