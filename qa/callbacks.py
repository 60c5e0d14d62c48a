"""What hooks into training without being training: history, checkpoints, throughput, the live line."""

import os
import resource
import time
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from qa.batches import Batch
from qa.module import QuestionAnsweringModule
from qa.progress import console, live_line
from qa.report import Row, better, results_table, write_predictions

Monitor = Literal["val_loss", "exact_match", "f1"]


class History(Checkpoint):
    """A row for every epoch, shown as a table, and `last.ckpt` and `best.ckpt` beside it.

    Files get a temporary name first, so that a name always stands for a whole file. The n-best answers of the best
    epoch are written as soon as it is known to be the best so far.
    """

    def __init__(self, folder: str | Path, monitor: Monitor = "val_loss") -> None:
        self.folder, self.monitor = Path(folder), monitor
        self.rows: list[Row] = []
        self.best: Row | None = None
        self._evaluated = -1  # the step of the last evaluation, whose figures the trainer keeps for ever

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if trainer.global_step >= cast(QuestionAnsweringModule, module).total_steps:
            trainer.should_stop = True  # max_steps alone ends a fit in mid-epoch without an evaluation

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._evaluated = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Keeps the epoch's row, its checkpoint and, of the best, the answers; shows the table."""
        names = ["train_loss"]
        if self._evaluated == trainer.global_step:
            names += ["val_loss", "exact_match", "f1"]
        figures = {name: trainer.callback_metrics[name].item() for name in names}
        row = Row(epoch=trainer.current_epoch + 1, step=trainer.global_step, **figures)
        self.rows.append(row)
        improved = better(row, self.best or Row(), self.monitor)
        self.best = row if improved else self.best
        self._save(trainer, improved)
        if improved:
            assert isinstance(module, QuestionAnsweringModule)
            write_predictions(self.folder, module.answers)
        console.print(results_table(self.rows, self.best))

    def _save(self, trainer: Trainer, improved: bool) -> None:
        folder = self.folder / "checkpoints"
        folder.mkdir(exist_ok=True)
        temporary = folder / "last.tmp"
        trainer.save_checkpoint(temporary)
        if improved:  # a second name for the same file: no second 2 GB on the disk
            link = folder / "best.tmp"
            link.unlink(missing_ok=True)
            os.link(temporary, link)
            link.replace(folder / "best.ckpt")
        temporary.replace(folder / "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [row.model_dump() for row in self.rows], "best": self.best and self.best.model_dump()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [Row(**row) for row in state_dict["rows"]]
        self.best = state_dict["best"] and Row(**state_dict["best"])


class Throughput(Callback):
    """Windows and tokens (padding not counted) per second, and the peak of memory in GiB; logged each step."""

    def __init__(self) -> None:
        self.windows = {"train": 0, "validation": 0}
        self.seconds = {"train": 0.0, "validation": 0.0}
        self._begin = 0.0

    def per_second(self) -> dict[str, float | None]:
        """Windows per second of training steps and of evaluation, over the whole process."""
        return {k: self.windows[k] / self.seconds[k] if self.seconds[k] else None for k in self.windows}

    def _lap(self, kind: str, batch: Batch) -> tuple[int, float]:
        now = time.perf_counter()
        windows, seconds = len(batch["input_ids"]), now - self._begin
        self.windows[kind] += windows
        self.seconds[kind] += seconds
        self._begin = now
        return windows, seconds

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        tokens = int(batch["attention_mask"].sum())  # waits for the device, so that the time is the step's
        windows, seconds = self._lap("train", batch)
        speeds = {"windows_per_second": windows / seconds, "tokens_per_second": tokens / seconds}
        module.log_dict({**speeds, "memory_gib": peak_memory(module.device)}, on_step=True, on_epoch=False)

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, loader: int = 0
    ) -> None:
        self._lap("validation", batch)

    on_validation_epoch_start = on_test_epoch_start = on_predict_epoch_start = on_train_epoch_start  # type: ignore[assignment]
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]


def peak_memory(device: torch.device) -> float:
    """Peak of the device's allocated memory in GiB; of the process's resident memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if not self._line.disable and time.monotonic() - self._shown > 0.5:  # reading the loss waits for the device
            self._shown = time.monotonic()
            metrics = trainer.logged_metrics
            speed = f"{metrics['windows_per_second']:.1f} windows/s" if "windows_per_second" in metrics else ""
            loss = f"loss {float(outputs['loss']):.3f}"
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

    on_test_start = on_predict_start = on_validation_start  # type: ignore[assignment]
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_test_end = on_predict_end = on_train_end = on_validation_end  # type: ignore[assignment]

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._line.stop()
