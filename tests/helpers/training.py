"""Parts of a fit."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import AutoConfig, PretrainedConfig

from qa.config.settings import NonFinite
from qa.data.epochs.batches import Batch, EpochSampler, EvaluationBatches, TrainingBatches
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.labels import training_labels
from qa.data.windows.tokenizer import load_tokenizer, pair_template
from qa.model.fast.micro_batches import MicroBatchSize
from qa.model.optimization import schedule
from qa.runs.results import Monitor
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.collectives import connect
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule

ADAM = partial(torch.optim.Adam, lr=1e-3)


def config_of(family: str, **more: Any) -> PretrainedConfig:
    """A tiny model of a family, by the names that it has for its sizes."""
    usual = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    names = ("dim", "n_layers", "n_heads", "hidden_dim") if family == "distilbert" else usual
    return AutoConfig.for_model(family, vocab_size=99, **dict(zip(names, (32, 2, 2, 64), strict=True)), **more)


class Small(QuestionAnsweringModule):
    """On a device that carries `room` windows at once."""

    room = 99

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if len(batch["input_ids"]) > self.room:
            raise torch.OutOfMemoryError
        return super().forward(batch)


class Losses(lightning.Callback):
    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        module.when_read(lambda figures: self.found.append((figures["loss"], figures["gradient_norm"])))


def batches(exact: Path, file: Path, rank: int = 0, world_size: int = 1) -> TrainingBatches:
    examples = read_examples(str(file)).examples
    tokenizer = load_tokenizer(str(exact))
    windows = build_windows(examples, tokenizer, 64, 16)
    labels = training_labels(windows, examples, "first")
    return TrainingBatches(windows, examples, pair_template(tokenizer), labels, rank, world_size)


def train(
    kind: type[Small],
    exact: Path,
    file: str | Path,
    room: int = 99,
    devices: int = 1,
    steps: int = 4,
    windows: int = 10,
    size: MicroBatchSize = "auto",
    nonfinite: NonFinite = "stop",
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
    validated: bool = False,
    callbacks: Sequence[lightning.Callback] = (),
    resume: Path | None = None,
    done: int = 0,
    **arguments: Any,
) -> tuple[Small, list[tuple[float, float]]]:
    """The module after steps of some windows, and the loss and gradient norm of each.

    `resume`: a checkpoint after `done` steps; `arguments`: the trainer's.
    """
    linear = partial(schedule, name="linear", warmup_ratio=0.0)
    module = kind(str(exact), optimizer, linear, total_steps=4, micro_batch_size=size, nonfinite=nonfinite)
    module.room = room
    losses = Losses()
    rows: Any = [np.arange(windows) + 7 * step for step in range(steps)]
    settings: Any = {
        "accelerator": "cpu", "devices": devices, "max_epochs": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "gradient_clip_val": 1.0,
        "callbacks": [losses, *callbacks], "use_distributed_sampler": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    trainer = lightning.Trainer(**{**settings, **arguments})
    connect(trainer)
    dataset = batches(exact, Path(file), trainer.global_rank, devices)
    evaluated = EvaluationBatches(dataset.windows, dataset.examples, dataset.template)
    loader = partial(DataLoader, batch_size=None)
    sampler: Any = EpochSampler(lambda _: rows, steps, 0, done)
    validation = loader(evaluated, sampler=rows[:2]) if validated else None
    trainer.fit(module, loader(dataset, sampler=sampler), validation, ckpt_path=resume, weights_only=True)
    return module, losses.found


def trained(
    exact: Path, small_files: tuple[Path, Path], room: int, size: MicroBatchSize = "auto"
) -> tuple[list[tuple[float, float]], QuestionAnsweringModule]:
    """Loss and gradient norm of 4 steps of 10 windows, and the module."""
    module, losses = train(Small, exact, small_files[0], room, size=size)
    return losses, module


def a_history(
    folder: Path, steps_per_epoch: int = 1, identity: dict[str, Any] | None = None, monitor: Monitor = "val_loss"
) -> History:
    """The history of a run in a folder."""
    made = identity or {"settings": {}, "inputs": {}, "code": None, "versions": {}}
    return History(CheckpointFiles(folder), steps_per_epoch, made, monitor=monitor)
