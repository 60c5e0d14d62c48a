"""Callbacks beside the training: metrics for the loggers, early stopping."""

import math
import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch import callbacks as lightnings
from pydantic import NonNegativeFloat, PositiveInt

from qa.config.targets import build
from qa.data.epochs.batches import Batch, TrainingBatch
from qa.errors import UserError
from qa.memory import peak_resident_memory
from qa.runs.results import Row, sign
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule

REFUSED: dict[type[Callback], str] = {
    lightnings.Checkpoint: "checkpoint.* decides what is saved",
    lightnings.EarlyStopping: "take callbacks=early_stopping",
    lightnings.StochasticWeightAveraging: "its weights would not be in the model, which is best.ckpt's",
    lightnings.WeightAveraging: "its weights would not be in the model, which is best.ckpt's",
    lightnings.ModelPruning: "what it leaves is no model that transformers reads",
    lightnings.GradientAccumulationScheduler: "data.batch_size is the batch of one optimiser step on any hardware",
    lightnings.BatchSizeFinder: "data.micro_batch_size=auto finds what fits",
    lightnings.LearningRateFinder: "sweep optimizer.lr instead",
}


def build_callbacks(nodes: Mapping[str, Any]) -> list[Callback]:
    """The callbacks of a configuration. Errors: UserError for one that does not go with how a run is trained here."""
    callbacks = [build(node, f"callbacks.{name}") for name, node in nodes.items()]
    for name, callback in zip(nodes, callbacks, strict=True):
        for kind, reason in REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"callbacks.{name}: {type(callback).__name__} is refused; {reason}")
        if not isinstance(callback, Callback):
            raise UserError(f"callbacks.{name}: is no callback of Lightning; give the _target_ of one")
    return callbacks


class Metrics(Callback):
    """Hands each step's figures to the loggers, with speeds and the peak of memory in GiB.

    Windows and tokens (padding not counted) are of all ranks. A step's number is the count of steps done.
    """

    state_key = "Metrics"  # in checkpoints, wherever this class may move

    def __init__(self) -> None:
        self.windows = {"train": 0, "validation": 0}
        self.seconds = {"train": 0.0, "validation": 0.0}
        self._begin = 0.0
        self._memory, self._looked = 0.0, -math.inf  # GiB at the last look at it, and its time

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

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: TrainingBatch, _: int) -> None:
        if math.isnan(self._begin):
            self._begin = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        seconds = self._lap("train", batch["windows"])
        speeds = {"windows_per_second": batch["windows"] / seconds, "tokens_per_second": batch["tokens"] / seconds}
        assert isinstance(module, QuestionAnsweringModule)
        if self._begin - self._looked > 1:  # to ask CUDA takes a fifth of a millisecond
            self._memory, self._looked = peak_memory(module.device), self._begin
        step, more = trainer.global_step, {**speeds, "memory_gib": self._memory}

        def log(figures: dict[str, float]) -> None:
            for logger in trainer.loggers:
                logger.log_metrics({**figures, **more}, step)

        module.when_read(log)

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, loader: int = 0
    ) -> None:
        self._lap("validation", 0)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, QuestionAnsweringModule)
        self.windows["validation"] += module.evaluated_windows
        self._begin = math.nan  # within an epoch, files are written before the next step

    on_train_epoch_start = on_validation_epoch_start = on_test_epoch_start = on_predict_epoch_start = on_train_start  # type: ignore[assignment]
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_test_end = on_predict_end = on_validation_end  # type: ignore[assignment]


class AfterEvaluations(Callback):
    """Looks at a fit's evaluations after each of them, and where a resumed fit begins with some."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._look(trainer, module, [])

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            row = Row(step=trainer.global_step, **cast(QuestionAnsweringModule, module).figures)
            self._look(trainer, module, [row])  # the history takes it in after all other callbacks

    def _look(self, trainer: Trainer, module: LightningModule, new: list[Row]) -> None:
        history = cast(History, trainer.checkpoint_callback)
        self.look(trainer, cast(QuestionAnsweringModule, module), history, [*history.rows, *new])

    def look(self, trainer: Trainer, module: QuestionAnsweringModule, history: History, rows: list[Row]) -> None:
        """Looks at `rows`, one for each evaluation so far."""
        raise NotImplementedError


class EarlyStopping(AfterEvaluations):
    """Ends a fit when `patience` evaluations in a row have not beaten the best before them by `min_delta`.

    It watches `checkpoint.monitor`. Its only state is the table's rows, so that a resumed run ends where the whole one
    would have ended.
    """

    def __init__(self, patience: PositiveInt = 1, min_delta: NonNegativeFloat = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta

    def look(self, trainer: Trainer, module: QuestionAnsweringModule, history: History, rows: list[Row]) -> None:
        figures = [getattr(row, history.monitor, None) for row in rows]
        values = [sign(history.monitor) * figure for figure in figures if figure is not None]
        before, last = values[: -self.patience], values[-self.patience :]
        best = min((value for value in before if math.isfinite(value)), default=math.inf)
        if before and not any(value < best - self.min_delta for value in last):  # NaN beats nothing
            trainer.should_stop = True


def peak_memory(device: torch.device) -> float:
    """The peak of the device's allocated memory in GiB; on the CPU of the process's resident memory."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_resident_memory()
