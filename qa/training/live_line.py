"""The line that shows the progress of a fit or an evaluation, and the time that a fit still takes."""

import math
import time
from datetime import timedelta
from typing import Any

from lightning import Callback, LightningModule, Trainer
from pydantic import PositiveFloat

from qa.console import console, live_line, to_log_file
from qa.data.epochs.batches import Batch, TrainingBatch
from qa.training.module import QuestionAnsweringModule


class Pace:
    """The speed of a fit, over the last steps rather than in one: batches are of different lengths."""

    KEPT = 0.95  # of the mean so far, at each step

    def __init__(self) -> None:
        self._seconds = self._tokens = self._windows = 0.0

    def add(self, seconds: float, batch: TrainingBatch) -> None:
        new = {"_seconds": seconds, "_tokens": batch["tokens"], "_windows": batch["windows"]}
        for name, value in new.items():
            setattr(self, name, self.KEPT * getattr(self, name) + (1 - self.KEPT) * value)

    def windows_per_second(self) -> float:
        return self._windows / self._seconds if self._seconds else 0.0

    def seconds_for(self, tokens: float) -> float:
        """The seconds that so many tokens of training take."""
        return tokens * self._seconds / self._tokens if self._tokens else 0.0


class Workload:
    """The work that is left of a fit, in tokens of training."""

    FORWARD_SHARE = 1 / 3  # of a training step's time: a backward pass costs two forward ones

    def __init__(self, trainer: Trainer, module: QuestionAnsweringModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.total_steps, self.steps_per_epoch = module.total_steps, float(trainer.num_training_batches)
        # limit_train_batches ends an epoch early
        self._train: float = data.epoch_tokens() * self.steps_per_epoch / data.batch_count()
        validation = data.splits["validation"]
        self._evaluation = int(validation.windows.lengths()[validation.evaluated].sum())

    def left(self, step: int) -> float:
        """The tokens after `step`, with the evaluations that are still to come."""
        epochs = (self.total_steps - step) / self.steps_per_epoch
        evaluations = min(math.floor(epochs) + 1, math.ceil(self.total_steps / self.steps_per_epoch))
        return self._train * epochs + self._evaluation * evaluations * self.FORWARD_SHARE


class LiveLine(Callback):
    """One line in a terminal: epoch, step of steps, loss, windows/s, time left; every few minutes a line to keep.

    The line to keep goes into `train.log` and, where there is no terminal to redraw, to the output as well.
    """

    def __init__(self, every_n_minutes: PositiveFloat = 2.0) -> None:
        self.every_n_minutes = every_n_minutes
        self._line = live_line()
        self._shown, self._kept, self._begin = 0.0, time.monotonic(), 0.0
        self._pace = Pace()

    def _start(self, description: str, total: int, completed: int = 0, training: bool = False) -> None:
        self._line.stop()
        self._line = live_line("words", time_left=not training)
        self._task = self._line.add_task(description, total=total, completed=completed, words="")
        self._line.start()
        self._begin = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, QuestionAnsweringModule)
        self._workload = Workload(trainer, module)
        self._start(self._epoch(trainer), module.total_steps, trainer.global_step, training=True)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: TrainingBatch, _: int) -> None:
        if math.isnan(self._begin):
            self._begin = time.perf_counter()

    def _epoch(self, trainer: Trainer) -> str:
        of = f"/{trainer.max_epochs}" if trainer.max_epochs != -1 else ""
        return f"epoch {trainer.current_epoch + 1}{of}  step"

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        now, begin = time.perf_counter(), self._begin
        self._pace.add(now - begin, batch)
        self._begin = now
        redraw = not self._line.disable and time.monotonic() - self._shown > 0.5
        keep = self._is_due()
        assert isinstance(module, QuestionAnsweringModule)
        if not (redraw or keep) or not module.step_metrics:  # on a GPU the first figures come a step later
            return
        step = trainer.global_step
        left = timedelta(seconds=round(self._pace.seconds_for(self._workload.left(step))))
        speed = f"{self._pace.windows_per_second():.1f} windows/s"
        words = f"loss {module.step_metrics['loss']:.3f}  {speed}  time left {left}"
        if redraw:
            self._shown = time.monotonic()
            self._line.update(self._task, completed=step, words=words)
        if keep:
            self._keep(f"{self._epoch(trainer)} {step:,}/{self._workload.total_steps:,}  {words}")

    def _is_due(self) -> bool:
        return time.monotonic() - self._kept > 60 * self.every_n_minutes

    def _keep(self, line: str) -> None:
        self._kept = time.monotonic()
        console.print(line) if self._line.disable else to_log_file(line)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        if trainer.predicting:
            batches = trainer.num_predict_batches
        self._start("evaluation  batch", int(sum(batches)))

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, loader: int = 0
    ) -> None:
        self._line.update(self._task, completed=batch_idx + 1)
        if self._is_due():
            self._keep(f"evaluation  batch {batch_idx + 1:,}/{self._line.tasks[0].total:,.0f}")

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._line.stop()
        self._begin = math.nan  # an evaluation within an epoch is no step, nor are the files that follow it

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.on_train_epoch_start(trainer, module)  # a resumed run may begin within an epoch

    on_test_start = on_predict_start = on_validation_start  # type: ignore[assignment]
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_test_end = on_predict_end = on_train_end = on_validation_end  # type: ignore[assignment]

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._line.stop()
