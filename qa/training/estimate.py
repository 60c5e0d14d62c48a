"""The time that a run will take, reported after its first steps, and a warning where its loss is wrong."""

import logging
import time
from collections import deque
from datetime import timedelta
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer

from qa.console import console
from qa.data.epochs.batches import TrainingBatch
from qa.training.callbacks import peak_memory
from qa.training.live_line import Workload
from qa.training.module import QuestionAnsweringModule

log = logging.getLogger(__name__)

STEPS = 20  # enough to tell the speed
RISE = 0.3  # of a mean over STEPS losses: five times its standard deviation with batches of 16 windows


class Estimate(Callback):
    """Reports time and memory after some steps; warns of a first loss far from chance and of a rising loss."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, int]] = []  # seconds and tokens of the first steps
        self._losses: deque[float] = deque(maxlen=STEPS)
        self._first: float | None = None  # mean of the first STEPS losses of a new span head, near that of chance

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: TrainingBatch, batch_idx: int
    ) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        module, step = cast(QuestionAnsweringModule, module), trainer.global_step

        def look(figures: dict[str, float]) -> None:
            self._losses.append(figures["loss"])
            if step == 1 and not module.trained_head:
                _check_first_loss(figures["loss"], batch)
            if step == STEPS == len(self._losses) and not module.trained_head:
                self._first = sum(self._losses) / STEPS
            self._check_rise(figures["learning_rate"])

        module.when_read(look)
        if len(self._steps) <= STEPS:
            self._steps.append((time.perf_counter() - self._begin, batch["tokens"]))
            if len(self._steps) == STEPS + 1 < module.total_steps - trainer.global_step:
                self._report(trainer, module)

    def _report(self, trainer: Trainer, module: QuestionAnsweringModule) -> None:
        seconds, tokens = (sum(column) for column in zip(*self._steps[1:], strict=True))  # the first one warms up
        left = Workload(trainer, module).left(trainer.global_step)
        whole = timedelta(seconds=round(left * seconds / tokens))
        memory = f"{peak_memory(module.device):.1f} GiB"
        if module.device.type == "cuda":
            memory += f" of {torch.cuda.get_device_properties(module.device).total_memory / 2**30:.0f} GiB"
        console.print(f"after {STEPS} steps: about {whole} left, {memory} of memory in use")

    def _check_rise(self, learning_rate: float) -> None:
        mean = sum(self._losses) / len(self._losses)
        if self._first is None or mean < self._first + RISE:
            return
        log.warning(
            "the loss rises: %.2f over the last %d steps, %.2f over the first, at learning rate %.3g; lower"
            " optimizer.lr, or take scheduler.warmup_ratio=0.1",
            mean,
            STEPS,
            self._first,
            learning_rate,
        )
        self._first = None


def _check_first_loss(loss: float, batch: TrainingBatch) -> None:
    """Warns unless the loss is chance's: to a new span head each position of a window is as likely as any other."""
    chance = batch["attention_mask"].sum(dim=1).log().mean().item()
    if abs(loss - chance) > 1:
        log.warning(
            "the first loss is %.2f, where chance gives %.2f; look at model.pretrained and the answers of the training"
            " data",
            loss,
            chance,
        )
