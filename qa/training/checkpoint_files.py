"""The files of a run's checkpoints: written whole, given their names, removed when they are too many."""

import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from qa.errors import UserError
from qa.runs.checkpoints import is_own, load_checkpoint, step_checkpoints
from qa.runs.folder import RunFolder
from qa.storage import NO_LINKS

log = logging.getLogger(__name__)


class SyncedFile(TorchCheckpointIO):
    """Writes a checkpoint straight to its file and on to the disk. It keeps an error: other ranks are waiting."""

    error = ""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            write_through(checkpoint, Path(path))
        except (OSError, RuntimeError) as error:  # torch's writer turns some of the first into the second
            Path(path).unlink(missing_ok=True)
            if isinstance(error, torch.AcceleratorError):
                raise  # a GPU that failed: more room on the disk would not help
            cause = error if isinstance(error, OSError) else error.__context__ or error
            self.error = " ".join(str(cause).split())


class CheckpointFiles:
    """`checkpoints/` of a run: `last.ckpt`, `best.ckpt`, and `keep` of earlier steps.

    A file is `last.tmp` until it is whole and on the disk, so that a name always stands for a whole file.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 1,
        optimizer_state: Literal["all", "last"] = "all",
        on_error: Literal["stop", "continue"] = "stop",
    ) -> None:
        """`folder`: the run's."""
        self.run = RunFolder(folder)
        self.keep, self.on_error = keep, on_error
        self.writer = SyncedFile()
        self.give_name = hard_link if optimizer_state == "all" else without_optimizer
        self._saved = time.monotonic()
        self._last: int | None = None  # step of last.ckpt, once that is surely whole

    def minutes(self) -> float:
        """Minutes since the last checkpoint was saved."""
        return (time.monotonic() - self._saved) / 60

    def save(self, trainer: Trainer, best: bool = False) -> None:
        """Saves the trainer's state as `last.ckpt` and, asked to, as `best.ckpt`; all ranks call this.

        Errors: UserError where the disk does not take it, unless `on_error` allows that.
        """
        self.run.checkpoints.mkdir(exist_ok=True)
        temporary = self.run.checkpoints / "last.tmp"
        for logger in trainer.loggers:
            logger.save()  # the figures that a checkpoint knows of are on the disk before it
        trainer.save_checkpoint(temporary)
        self._saved = time.monotonic()
        if error := trainer.strategy.broadcast(self.writer.error):
            self.writer.error = ""
            problem = f"step {trainer.global_step}: no checkpoint could be saved ({error})"
            if best or self.on_error == "stop":
                remedy = "make room" if best else "make room, or continue without it by checkpoint.on_error=continue"
                raise UserError(f"{problem}; {remedy}; those before it are kept")
            log.warning("%s; those before it are kept", problem)
        elif trainer.is_global_zero:
            self._name(temporary, trainer.global_step, best)

    def _name(self, temporary: Path, step: int, best: bool) -> None:
        """Gives a whole file its names; the last one before it, if of another step, becomes one of the earlier ones."""
        last = self.run.last
        if best:
            self.give_name(temporary, self.run.best)
        if self.keep and self._last not in (None, step):
            self.give_name(last, self.run.checkpoints / f"step-{self._last}.ckpt")
        temporary.replace(last)
        self._last = step
        for path in step_checkpoints(self.run.path)[::-1][self.keep :]:
            path.unlink()
        directory = os.open(self.run.checkpoints, os.O_RDONLY)
        with suppress(OSError):  # some file systems in user space cannot do it
            os.fsync(directory)
        os.close(directory)

    def resume_from(self, path: Path, step: int) -> None:
        """Notes the step of the checkpoint that a run resumes from, if it is the run's last one."""
        if path.resolve() == self.run.last.resolve():
            self._last = step

    def adopt_best(self, best: Path) -> None:
        """Copies the best epoch's checkpoint and answers of another run. Errors: UserError where some are missing."""
        if is_own(best, self.run.path):
            return
        other = RunFolder(best.parent.parent)
        self.run.checkpoints.mkdir(exist_ok=True)
        for path in other.of_best_epoch:
            if not path.exists():
                raise UserError(f"{other.path}: {path.name} of the best epoch is missing; copy the whole folder")
            shutil.copy(path, self.run.path)
        if other.null_odds.exists():
            shutil.copy(other.null_odds, self.run.path)
        shutil.copy(best, self.run.best.with_suffix(".tmp"))
        self.run.best.with_suffix(".tmp").replace(self.run.best)


def hard_link(path: Path, name: Path) -> None:
    """Makes `name`, whatever it was, another name of the file `path`: no second 2 GB on the disk.

    A file system without hard links gets the second 2 GB.
    """
    temporary = name.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(path, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    temporary.replace(name)


def without_optimizer(path: Path, name: Path) -> None:
    """Makes `name`, whatever it was, the checkpoint `path` without the optimizer's state: a third of its size."""
    checkpoint = load_checkpoint(path)
    checkpoint["optimizer_states"] = []
    temporary = name.with_suffix(".tmp")  # a kill leaves no more than one of them
    write_through(checkpoint, temporary)
    temporary.replace(name)


def write_through(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint to its file and on to the disk."""
    with path.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())
