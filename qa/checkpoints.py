"""What a run knows at each moment, on disk: rows, checkpoints, and how it ends when it is told to end."""

import errno
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.optim.lr_scheduler import LambdaLR

from qa import UserError
from qa.batches import Batch
from qa.identity import differences, other_code
from qa.launch import handle_signals, leave_terminal
from qa.module import QuestionAnsweringModule
from qa.progress import console
from qa.questions import Evaluation
from qa.report import EvaluatedPart, Row, better, results_table, write_predictions
from qa.runs import PRUNED, earlier, is_own, load_checkpoint
from qa.settings import Monitor

log = logging.getLogger(__name__)

NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}

SHOWN = 20  # rows of the table that an evaluation shows, the last ones and the best


class Interrupted(BaseException):
    """The run was told to end by a signal; what it had trained is in its last checkpoint."""

    def __init__(self, signum: int) -> None:
        self.signum = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGNALS raise Interrupted, but for training steps, which a signal lets finish: see `History`."""

    def interrupt(signum: int, _: Any) -> None:
        if signum == signal.SIGHUP:
            leave_terminal()
        raise Interrupted(signum)

    handlers = handle_signals(interrupt)
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


class SyncedFile(TorchCheckpointIO):
    """Writes a checkpoint straight to its file and on to the disk. What goes wrong is kept: other ranks are waiting."""

    error = ""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            with Path(path).open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch's writer turns some of the first into the second
            Path(path).unlink(missing_ok=True)
            if isinstance(error, torch.AcceleratorError):
                raise  # a GPU that failed, which no room on the disk mends
            cause = error if isinstance(error, OSError) else error.__context__ or error
            self.error = " ".join(str(cause).split())


class History(Checkpoint):
    """A row for every evaluation, shown as a table, with `last.ckpt` and `best.ckpt` beside it.

    A checkpoint is saved before each evaluation, after it, every so many steps or minutes, and when a signal asks the
    run to end. Files get a temporary name first and are synced, so that a name always stands for a whole file; what
    belongs to the best row is written before the checkpoint that knows of it. `keep` checkpoints of earlier steps stay.
    """

    def __init__(
        self,
        folder: str | Path,
        steps_per_epoch: int = 1,
        monitor: Monitor = "val_loss",
        every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
        keep: int = 1,
        optimizer_state: Literal["all", "last"] = "all",
        on_error: Literal["stop", "continue"] = "stop",
    ) -> None:
        self.folder, self.steps_per_epoch, self.monitor = Path(folder), steps_per_epoch, monitor
        self.identity: dict[str, Any] = {}  # what a run that goes on must share with the one that stopped
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self.keep, self.on_error = keep, on_error
        self.second_name = link if optimizer_state == "all" else without_optimizer
        self.evaluated_part: EvaluatedPart | None = None
        self.rows: list[Row] = []
        self.best: Row | None = None
        self.ended = False  # before all steps were done: no further one is wanted
        self.pruned = False  # by the search that it is a trial of
        self.schedule_changes: list[dict[str, int]] = []  # where a resumed run was made longer or shorter
        self._signum = 0  # the signal that this rank got
        self._agreed = 0  # the signal that some rank got, known to all
        self._saved = time.monotonic()
        self._files = SyncedFile()
        self._last: int | None = None  # step of last.ckpt, once that is known to be whole

    # when

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self._files

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        cast(QuestionAnsweringModule, module).wishes = self._wishes
        self._handlers = handle_signals(self._noted)
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                follow_schedule(config.scheduler)

    def _noted(self, signum: int, frame: Any) -> None:
        if self._signum and signum == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice
        self._signum = signum
        if signum == signal.SIGHUP:
            leave_terminal()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Saves where a checkpoint is due or a rank was told to end; all ranks decide alike."""
        module, step = cast(QuestionAnsweringModule, module), trainer.global_step
        if step >= module.total_steps:
            trainer.should_stop = True  # max_steps alone ends a fit in mid-epoch without an evaluation
        self._agreed, due = module.agreed
        due |= bool(self.every_n_steps and step % self.every_n_steps == 0)
        pending = self._evaluation_follows(trainer)
        if step % self.steps_per_epoch == 0 and not pending:
            return  # the epoch's row comes first
        if self._agreed or due:
            self._save(trainer, pending)
        self._end_if_told(trainer)

    def _wishes(self) -> tuple[int, int]:
        """The signal that this rank got, and whether its clock says that a checkpoint is due; asked once a step."""
        minutes = (time.monotonic() - self._saved) / 60
        return self._signum, bool(self.every_n_minutes and minutes > self.every_n_minutes)

    def _end_if_told(self, trainer: Trainer) -> None:
        if self._agreed:
            trainer.strategy.barrier()  # once one has ended a launcher may end all: the first has its files now
            raise Interrupted(self._agreed)

    def _evaluation_follows(self, trainer: Trainer) -> bool:
        loop = trainer.fit_loop.epoch_loop
        return loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, pending=True)

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, loader: int = 0
    ) -> None:
        if self._signum:
            raise Interrupted(self._signum)  # the checkpoint was saved before the evaluation

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.evaluated(trainer, cast(QuestionAnsweringModule, module), trainer.global_step)
            self._save(trainer, best=self.best is self.rows[-1])

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """An epoch without an evaluation has a row too."""
        if not self.rows or self.rows[-1].step != trainer.global_step:
            self._add(trainer, cast(QuestionAnsweringModule, module), trainer.global_step, {})
            self._save(trainer)
            self._end_if_told(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    # what

    def evaluated(self, trainer: Trainer, module: QuestionAnsweringModule, step: int) -> None:
        """Takes in an evaluation after `step` steps; writes its answers where it is the best so far."""
        self._add(trainer, module, step, dict(module.figures))

    def _add(self, trainer: Trainer, module: QuestionAnsweringModule, step: int, figures: dict[str, float]) -> None:
        epoch = step / self.steps_per_epoch
        figures["train_loss"] = module.loss_sum / max(module.loss_windows, 1)
        row = Row(epoch=int(epoch) if epoch.is_integer() else epoch, step=step, **figures)
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": epoch, **figures}, step)
        if better(row, self.best or Row(), self.monitor):
            self.best = row
            if trainer.is_global_zero:
                write_predictions(self.folder, module.evaluation)
        module.evaluation = Evaluation({}, {}, {})  # large, and on the disk where it is the best
        shown = [row for row in self.rows[:-SHOWN] if row is self.best] + self.rows[-SHOWN:]
        console.print(results_table(shown, self.best, self.evaluated_part))

    def _save(self, trainer: Trainer, pending: bool = False, best: bool = False) -> None:
        self._pending = pending
        all_steps = cast(QuestionAnsweringModule, trainer.lightning_module).total_steps
        self.ended = trainer.should_stop and not pending and trainer.global_step < all_steps
        folder = self.folder / "checkpoints"
        folder.mkdir(exist_ok=True)
        temporary = folder / "last.tmp"
        for logger in trainer.loggers:
            logger.save()  # what a checkpoint knows of is on the disk before it
        trainer.save_checkpoint(temporary)
        self._saved = time.monotonic()
        if error := trainer.strategy.broadcast(self._files.error):
            self._files.error = ""
            self._not_saved(f"step {trainer.global_step}: no checkpoint could be saved ({error})", best)
        elif trainer.is_global_zero:
            self._take(temporary, trainer.global_step, best)

    def _not_saved(self, what: str, best: bool) -> None:
        if best or self.on_error == "stop":
            remedy = "make room" if best else "make room, or do without it by checkpoint.on_error=continue"
            raise UserError(f"{what}; {remedy}; those before it are kept")
        log.warning("%s; those before it are kept", what)

    def _take(self, temporary: Path, step: int, best: bool) -> None:
        """Gives a whole file its names; the last one before it, if of another step, becomes one of the earlier ones."""
        last = temporary.with_name("last.ckpt")
        if best:
            self.second_name(temporary, last.with_name("best.ckpt"))
        if self.keep and self._last not in (None, step):
            self.second_name(last, last.with_name(f"step-{self._last}.ckpt"))
        temporary.replace(last)
        self._last = step
        for path in earlier(self.folder)[::-1][self.keep :]:
            path.unlink()
        directory = os.open(last.parent, os.O_RDONLY)
        with suppress(OSError):  # some file systems in user space cannot do it
            os.fsync(directory)
        os.close(directory)

    def goes_on_from(self, path: Path, checkpoint: dict[str, Any], writes: bool) -> None:
        """Takes over the rows of a checkpoint, and the best epoch's files where that is in another run's folder.

        `writes`: whether this rank does. Where the best epoch's weights are gone, the best of those to come is taken.
        """
        self.load_state_dict(checkpoint["callbacks"]["History"])
        held, own = checkpoint["run"], is_own(path, self.folder)
        if own and "resume" in held["inputs"]:
            self.identity["inputs"].setdefault("resume", held["inputs"]["resume"])
        if differences(held, self.identity):  # what ended it, such as its time, may be another now
            self.ended = False
        earlier_code = list(held.get("earlier_code", []))
        if other_code(held, self.identity):
            made = {key: held[key] for key in ("code", "versions")}
            earlier_code.append({"until_step": checkpoint["global_step"], **made})
        if earlier_code:
            self.identity["earlier_code"] = earlier_code
        folder = self.folder / "checkpoints"
        if path.resolve() == (folder / "last.ckpt").resolve():
            self._last = checkpoint["global_step"]
        best = path.with_name("best.ckpt")
        held = load_checkpoint(best)["global_step"] if best.exists() else None
        if self.best and held != self.best.step:
            # killed between the two names: an evaluation found better weights, and is about to find them again
            if not (checkpoint["pending"] and held == checkpoint["global_step"]):
                log.warning("%s: does not hold the weights of step %d; the best to come is taken", best, self.best.step)
            self.best = None
        elif self.best and writes and best.parent.resolve() != folder.resolve():
            folder.mkdir(exist_ok=True)
            for name in ("predictions.json", "nbest.json", "questions.parquet"):
                if not (best.parent.parent / name).exists():
                    raise UserError(f"{best.parent.parent}: {name} of the best epoch is missing; copy the whole folder")
                shutil.copy(best.parent.parent / name, self.folder)
            shutil.copy(best, folder / "best.tmp")
            (folder / "best.tmp").replace(folder / "best.ckpt")

    def made(self) -> dict[str, Any]:
        """The identity of what there is in the end: a fit that its search ended early is another than a whole one."""
        pruned = {PRUNED: True} if self.pruned else {}
        return {**self.identity, "settings": {**self.identity.get("settings", {}), **pruned}}

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"], checkpoint["pending"] = self.identity, self._pending
        checkpoint["total_steps"] = cast(QuestionAnsweringModule, module).total_steps
        checkpoint["loops"]["fit_loop"].update(loop_state(trainer.global_step, self.steps_per_epoch))

    def state_dict(self) -> dict[str, Any]:
        best = self.best and self.best.model_dump()
        changes = self.schedule_changes
        rows = [row.model_dump() for row in self.rows]
        return {"rows": rows, "best": best, "ended": self.ended, "schedule": changes, "pruned": self.pruned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self.rows:  # a run that goes on has them already, and perhaps an evaluation more
            self.rows = [Row(**row) for row in state_dict["rows"]]
            self.best = state_dict["best"] and Row(**state_dict["best"])
            self.ended = state_dict["ended"]
            self.schedule_changes = list(state_dict["schedule"])
            self.pruned = state_dict["pruned"]


def follow_schedule(scheduler: LambdaLR) -> None:
    """Sets the rates of the step to come: a checkpoint brings those of its own schedule, perhaps another."""
    rates = zip(scheduler.lr_lambdas, scheduler.base_lrs, strict=True)
    for group, (share, base) in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = base * share(scheduler.last_epoch)


def link(path: Path, name: Path) -> None:
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
    smaller = name.with_suffix(".tmp")
    with smaller.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())
    smaller.replace(name)


def loop_state(step: int, steps_per_epoch: int) -> dict[str, Any]:
    """Lightning's loop counters between two steps, every evaluation until then done.

    Its own, taken in a hook, say neither which evaluation is done nor survive all moments at which a run may stop.
    """
    epoch, done = divmod(step, steps_per_epoch)
    begun = epoch + (done > 0)
    epochs = {"ready": begun, "started": begun, "processed": epoch, "completed": epoch}
    batches, total = (dict.fromkeys(epochs, count) for count in (done, step))
    steps = {"total": {"ready": step, "completed": step}, "current": {"ready": done, "completed": done}}
    zero_grad = {kind: {**count, "started": count["ready"]} for kind, count in steps.items()}
    return {
        "epoch_progress": {"total": epochs, "current": epochs},
        "epoch_loop.batch_progress": {"total": total, "current": batches, "is_last_batch": False},
        "epoch_loop.scheduler_progress": steps,
        "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": steps, "zero_grad": zero_grad}},
        "epoch_loop.val_loop.batch_progress": {
            "total": dict.fromkeys(epochs, 0),
            "current": dict.fromkeys(epochs, 0),
            "is_last_batch": False,
        },
    }
