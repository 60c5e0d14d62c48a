"""Speeds, memory and when to stop; what is logged is tested with the whole run."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers.commands import Run, quick_fit
from helpers.training import a_history
from qa.runs.results import Row
from qa.training.callbacks import EarlyStopping, Metrics, peak_memory


def test_nothing_measured_is_no_speed() -> None:
    assert Metrics().per_second() == {"train": None, "validation": None}


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
    assert f"20% of the paragraphs of {small_files[0]}: 8 questions" in done.stdout
