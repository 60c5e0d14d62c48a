"""What hooks into training without being training: metrics for the loggers, the live line."""

import math
import resource
import sys
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from pydantic import NonNegativeFloat, PositiveInt

from qa.console import live_line
from qa.data.batches import Batch
from qa.runs.results import Row
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule


class Metrics(Callback):
    """Hands each step's figures to the loggers, with speeds and the peak of memory in GiB.

    Windows and tokens (padding not counted) are those of all ranks. A step's number is the count of steps done.
    """

    state_key = "Metrics"  # in checkpoints, wherever this class may move

    def __init__(self) -> None:
        self.windows = {"train": 0, "validation": 0}
        self.seconds = {"train": 0.0, "validation": 0.0}
        self._begin = 0.0
        self._memory, self._looked = 0.0, -math.inf  # GiB at the last look at it, and when that was

    def per_second(self) -> dict[str, float | None]:
        """Windows per second of training steps and of evaluation, over all starts of the run."""
        return {k: self.windows[k] / self.seconds[k] if self.seconds[k] else None for k in self.windows}

    def state_dict(self) -> dict[str, Any]:
        return {"windows": dict(self.windows), "seconds": dict(self.seconds)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not any(self.seconds.values()):  # a run that resumes has it already, and perhaps an evaluation more
            self.windows, self.seconds = dict(state_dict["windows"]), dict(state_dict["seconds"])

    def _lap(self, kind: str, windows: int) -> float:
        now = time.perf_counter()
        seconds = now - self._begin
        self.windows[kind] += windows
        self.seconds[kind] += seconds
        self._begin = now
        return seconds

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        seconds = self._lap("train", batch["windows"])
        speeds = {"windows_per_second": batch["windows"] / seconds, "tokens_per_second": batch["tokens"] / seconds}
        assert isinstance(module, QuestionAnsweringModule)
        if self._begin - self._looked > 1:  # to ask CUDA takes a fifth of a millisecond
            self._memory, self._looked = peak_memory(module.device), self._begin
        metrics = {**module.step_metrics, **speeds, "memory_gib": self._memory}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, trainer.global_step)

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, loader: int = 0
    ) -> None:
        self._lap("validation", 0)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, QuestionAnsweringModule)
        self.windows["validation"] += module.evaluated_windows

    on_train_epoch_start = on_validation_epoch_start = on_test_epoch_start = on_predict_epoch_start = on_train_start  # type: ignore[assignment]
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_test_end = on_predict_end = on_validation_end  # type: ignore[assignment]


class EarlyStopping(Callback):
    """Ends a fit when `patience` evaluations in a row have not beaten the best before them by `min_delta`.

    What is watched is `checkpoint.monitor`. It has no state but the table's rows, so that a run that goes on ends where
    the whole one would have ended.
    """

    def __init__(self, patience: PositiveInt = 1, min_delta: NonNegativeFloat = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._look(trainer, [])

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            assert isinstance(module, QuestionAnsweringModule)
            self._look(trainer, [Row(**module.figures)])  # the history takes it in after all other callbacks

    def _look(self, trainer: Trainer, new: list[Row]) -> None:
        history = trainer.checkpoint_callback
        assert isinstance(history, History)
        rows = [row for row in (*history.rows, *new) if getattr(row, history.monitor) is not None]
        sign = 1 if history.monitor == "val_loss" else -1
        values = [sign * getattr(row, history.monitor) for row in rows]
        before, last = values[: -self.patience], values[-self.patience :]
        if before and all(value >= min(before) - self.min_delta for value in last):
            trainer.should_stop = True


def peak_memory(device: torch.device) -> float:
    """Peak of the device's allocated memory in GiB; of the process's resident memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class LiveLine(Callback):
    """One line in a terminal: epoch, step of steps, loss, windows/s, time left."""

    def __init__(self) -> None:
        self._line = live_line("loss", "speed")
        self._shown = 0.0

    def _start(self, description: str, total: int, completed: int = 0) -> None:
        self._line.stop()
        self._line = live_line("loss", "speed")
        self._task = self._line.add_task(description, total=total, completed=completed, loss="", speed="")
        self._line.start()

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, QuestionAnsweringModule)
        self._start(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step", module.total_steps, trainer.global_step
        )

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if not self._line.disable and time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            assert isinstance(module, QuestionAnsweringModule)
            speed = f"{batch['windows'] / (time.perf_counter() - self._began):.1f} windows/s"
            loss = f"loss {module.step_metrics['loss']:.3f}"
            self._line.update(self._task, completed=trainer.global_step, loss=loss, speed=speed)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        if trainer.predicting:
            batches = trainer.num_predict_batches
        self._start("evaluation  batch", int(sum(batches)))

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, loader: int = 0
    ) -> None:
        self._line.update(self._task, completed=batch_idx + 1)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._line.stop()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.on_train_epoch_start(trainer, module)  # a run that goes on may begin within an epoch

    on_test_start = on_predict_start = on_validation_start  # type: ignore[assignment]
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_test_end = on_predict_end = on_train_end = on_validation_end  # type: ignore[assignment]

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._line.stop()
