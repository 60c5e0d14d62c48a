"""The files of a run's checkpoints: written whole, given their names, removed when they are too many."""

import logging
import os
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils._pytree import tree_map_only

from qa.errors import UserError
from qa.runs.checkpoints import is_own, load_checkpoint, step_checkpoints
from qa.runs.folder import RunFolder
from qa.storage import NO_LINKS

log = logging.getLogger(__name__)


class SyncedFile(TorchCheckpointIO):
    """Writes a checkpoint straight to its file and on to the disk, in a thread."""

    copies = False  # whether the training continues while it writes

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(1)
        self._written: Future[str] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if self.copies:
            checkpoint = tree_map_only(torch.Tensor, copy_to_host, checkpoint)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
        self._written = self._thread.submit(_write, checkpoint, Path(path))

    def is_done(self) -> bool:
        """Whether a file is whole, or an error is known, of which nobody has asked."""
        return self._written is not None and self._written.done()

    def wait(self) -> str:
        """Waits for the end of the writing; returns the error on the rank that writes, empty where there is none."""
        written, self._written = self._written, None
        return written.result() if written else ""


def copy_to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the host; a GPU's is in page-locked memory, and there after the next wait for the GPU."""
    return tensor.to("cpu", non_blocking=True, copy=True)


def _write(checkpoint: dict[str, Any], path: Path) -> str:
    """Writes a checkpoint; returns the error of a disk that does not take it: other ranks are waiting."""
    try:
        write_through(checkpoint, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns some of the first into the second
        path.unlink(missing_ok=True)
        if isinstance(error, torch.AcceleratorError):
            raise  # a GPU that failed: more room on the disk would not help
        cause = error if isinstance(error, OSError) else error.__context__ or error
        return " ".join(str(cause).split())
    return ""


class CheckpointFiles:
    """`checkpoints/` of a run: `last.ckpt`, `best.ckpt`, and `keep` of earlier steps.

    A file is `last.tmp` until it is whole and on the disk, so that a name always stands for a whole file. The training
    on a device of `late` continues until then.
    """

    late = frozenset({"cuda"})

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
        self._unnamed: tuple[int, bool] | None = None  # step of last.tmp, and whether it is the best

    def minutes(self) -> float:
        """Minutes since the last checkpoint was saved."""
        return (time.monotonic() - self._saved) / 60

    def save(self, trainer: Trainer, best: bool = False) -> None:
        """Saves the trainer's state as `last.ckpt` and, asked to, as `best.ckpt`; see `finish`."""
        self.finish(trainer)
        self.run.checkpoints.mkdir(exist_ok=True)
        temporary = self.run.checkpoints / "last.tmp"
        for logger in trainer.loggers:
            logger.save()  # the figures that a checkpoint knows of are on the disk before it
        self.writer.copies = trainer.strategy.root_device.type in self.late
        trainer.save_checkpoint(temporary)
        self._unnamed = trainer.global_step, best
        self._saved = time.monotonic()
        if not self.writer.copies:
            self.finish(trainer)

    def finish(self, trainer: Trainer, failed: bool = False) -> None:
        """Gives the checkpoint that was saved last its names, once it is whole; all ranks call this, or it `failed`.

        Errors: UserError where the disk does not take it, unless `on_error` allows that or the run ends anyhow.
        """
        if self._unnamed is None:
            return
        (step, best), self._unnamed = self._unnamed, None
        error = self.writer.wait()
        if error := error if failed else trainer.strategy.broadcast(error):
            problem = f"step {step}: no checkpoint could be saved ({error})"
            if not failed and (best or self.on_error == "stop"):
                remedy = "make room" if best else "make room, or continue without it by checkpoint.on_error=continue"
                raise UserError(f"{problem}; {remedy}; those before it are kept")
            log.warning("%s; those before it are kept", problem)
        elif trainer.is_global_zero:
            self._name(self.run.checkpoints / "last.tmp", step, best)

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
