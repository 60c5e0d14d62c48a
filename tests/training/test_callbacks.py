"""Speeds, memory and when to stop; what is logged is tested with the whole run."""

import json
import math
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.commands import Run, quick_fit
from helpers.training import a_history
from qa.runs.results import Row
from qa.training.callbacks import EarlyStopping, Metrics, peak_memory
from qa.training.live_line import LiveLine, Workload
from qa.training.module import QuestionAnsweringModule


def test_nothing_measured_is_no_speed() -> None:
    assert Metrics().per_second() == {"train": None, "validation": None}


def test_the_speed_of_training_is_that_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation within an epoch, and the files and the checkpoint that follow it, are none."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    module = QuestionAnsweringModule.__new__(QuestionAnsweringModule)
    torch.nn.Module.__init__(module)
    module.step_metrics, module.evaluated_windows, module._device = {}, 30, torch.device("cpu")
    trainer: Any = SimpleNamespace(loggers=[], global_step=1)
    batch: Any = {"windows": 10, "tokens": 100}
    metrics = Metrics()
    metrics.on_train_start(trainer, module)
    for _ in range(2):
        now[0] += 1  # waits for its batch
        metrics.on_train_batch_start(trainer, module, batch, 0)
        now[0] += 4
        metrics.on_train_batch_end(trainer, module, None, batch, 0)
        metrics.on_validation_epoch_start(trainer, module)
        now[0] += 3
        metrics.on_validation_batch_end(trainer, module, None, batch, 0)
        now[0] += 50  # decodes
        metrics.on_validation_end(trainer, module)
        now[0] += 50  # saves
    assert metrics.seconds == {"train": 9, "validation": 6}


def data() -> Any:
    """50 batches an epoch with 5,500 tokens together, and an evaluation of 300."""
    windows = SimpleNamespace(lengths=partial(np.full, 10, 30))
    splits = {"validation": SimpleNamespace(windows=windows, evaluated=np.arange(10))}
    return SimpleNamespace(splits=splits, epoch_tokens=lambda: 5500, batch_count=lambda: 50)


def test_a_log_file_gets_a_line_every_few_minutes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of one window and of ten, 10 tokens a second: the speed is that of the last ones together."""
    now = [0.0]
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: now[0])
    module = QuestionAnsweringModule.__new__(QuestionAnsweringModule)
    torch.nn.Module.__init__(module)
    module.total_steps, module.step_metrics = 100, {"loss": 1.5}
    trainer: Any = SimpleNamespace(
        datamodule=data(), num_training_batches=50, current_epoch=0, max_epochs=2, global_step=0
    )  # fmt: skip
    line = LiveLine(every_n_minutes=2)
    line.on_train_epoch_start(trainer, module)
    for step in range(1, 51):
        count = 1 if step % 2 else 10
        now[0] += count * 2
        batch: Any = {"windows": count, "tokens": count * 20}
        trainer.global_step = step
        line.on_train_batch_end(trainer, module, None, batch, step)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4  # in 550 seconds
    assert shown[-1] == "epoch 1/2  step 48/100  loss 1.500  0.5 windows/s  time left 0:09:52"


def test_the_line_waits_for_the_first_step_that_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    module = QuestionAnsweringModule.__new__(QuestionAnsweringModule)
    torch.nn.Module.__init__(module)
    module.total_steps, module.step_metrics = 100, {}
    trainer: Any = SimpleNamespace(
        datamodule=data(), num_training_batches=50, current_epoch=0, max_epochs=2, global_step=2
    )  # fmt: skip
    line = LiveLine(every_n_minutes=1e-9)
    line.on_train_epoch_start(trainer, module)
    batch: Any = {"windows": 1, "tokens": 20}
    figures: list[dict[str, float]] = [{}, {"loss": 1.5}]
    for module.step_metrics, shown in zip(figures, ("", "epoch 1/2  step 2/100  loss 1.500"), strict=True):
        line.on_train_batch_end(trainer, module, None, batch, 2)
        out = capsys.readouterr().out
        assert out.startswith(shown) and bool(out) == bool(shown)


def test_a_limited_epoch_has_the_tokens_of_its_batches() -> None:
    trainer: Any = SimpleNamespace(datamodule=data(), num_training_batches=5)
    module: Any = SimpleNamespace(total_steps=10)
    assert Workload(trainer, module).left(0) == 1100 + 2 * 300 / 3


def test_memory_is_in_gib() -> None:
    assert 0.05 < peak_memory(torch.device("cpu")) < 64


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "stops"),
    [
        ([3, 2, 1], 1, 0.0, False),
        ([3, 2, 2], 1, 0.0, True),
        ([3, 2, 2], 2, 0.0, False),
        ([1, 2, 0.5], 2, 0.0, False),
        ([1, 2, 1.5], 2, 0.0, True),
        ([3, 2.9], 1, 0.5, True),
        ([3], 1, 0.0, False),
        ([1, math.nan, math.nan], 1, 0.0, True),
        ([1, math.nan, 0.5], 2, 0.0, False),
        ([math.nan, 1], 1, 0.0, False),
    ],
)
@pytest.mark.parametrize("monitor", ["val_loss", "f1"])
def test_a_fit_ends_when_it_gets_no_better(
    values: list[float], patience: int, min_delta: float, stops: bool, monitor: Any, tmp_path: Path
) -> None:
    history = a_history(tmp_path, monitor=monitor)
    history.rows = [Row(**{monitor: value if monitor == "val_loss" else -value}) for value in values]
    history.rows.insert(1, Row(epoch=2))  # an epoch without an evaluation counts for nothing
    trainer: Any = SimpleNamespace(checkpoint_callback=history, should_stop=False)
    EarlyStopping(patience, min_delta).on_train_start(trainer, torch.nn.Module())  # type: ignore[arg-type]
    assert trainer.should_stop == stops


def test_a_run_that_gets_no_better_ends_and_is_finished(
    train_py: Run, tiny: Path, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    command = quick_fit(
        small_files, tiny, tmp_path / "cache", "data.validation_file=null", "data.validation_share=0.2",
        "callbacks=early_stopping", "callbacks.early_stopping.min_delta=99", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    done = train_py(*command)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["epoch"] for row in results["epochs"]] == [1, 2]
    assert results["examples"] == {"train": 32, "validation": 8}
    assert f"4 of the 20 paragraphs of {small_files[0]}: 8 questions" in done.stdout
