"""`History`: a row for every evaluation, and a checkpoint wherever a run may have to resume."""

import logging
from pathlib import Path
from typing import Any, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch.optim.lr_scheduler import LambdaLR

from qa.console import console
from qa.data.epochs.batches import Batch, TrainingBatch
from qa.internals import evaluation_follows, loop_state
from qa.runs.checkpoints import is_own, load_checkpoint
from qa.runs.folder import PRUNED
from qa.runs.identity import differences, other_code
from qa.runs.predictions import write_predictions
from qa.runs.results import Monitor, Row, better
from qa.runs.results_table import row_in_words
from qa.runs.weights import HISTORY
from qa.statistics.calibration import Calibrated, calibrate_evaluation
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.module import QuestionAnsweringModule
from qa.training.signals import Interrupted, NotedSignal

log = logging.getLogger(__name__)


def follow_schedule(scheduler: LambdaLR) -> None:
    """Sets the rates of the next step: a checkpoint brings rates of its own schedule, perhaps another."""
    rates = zip(scheduler.lr_lambdas, scheduler.base_lrs, strict=True)
    for group, (share, base) in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = base * share(scheduler.last_epoch)


class History(Checkpoint):
    """A row for every evaluation, shown as a line, and the checkpoints beside it.

    A checkpoint is saved before each evaluation, after it, every so many steps or minutes, and when a signal asks the
    run to end. The best row's files are written before the checkpoint that knows of it.
    """

    state_key = HISTORY  # in checkpoints, wherever this class may move

    def __init__(
        self,
        files: CheckpointFiles,
        steps_per_epoch: int,
        identity: dict[str, Any],
        monitor: Monitor = "val_loss",
        every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
    ) -> None:
        """`identity`: of the run, see `qa.runs.identity`."""
        self.files, self.steps_per_epoch, self.identity = files, steps_per_epoch, identity
        self.monitor = monitor
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self.rows: list[Row] = []
        self.best: Row | None = None
        self.calibration: Calibrated | None = None  # of the best row, on rank 0
        self.ended = False  # before all steps were done, on purpose
        self.pruned = False  # by the search that it is a trial of
        self.schedule_changes: list[dict[str, int]] = []  # where a resumed run was made longer or shorter
        self._signal = NotedSignal()  # of this rank
        self._agreed = 0  # the signal of any rank, the same on all
        self._pending = False  # an evaluation follows the checkpoint that is being saved

    # when to save

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self.files.writer

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        cast(QuestionAnsweringModule, module).wishes = self._wishes
        self._signal.start()
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                follow_schedule(config.scheduler)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        """Saves where a checkpoint is due or a signal asks a rank to end; all ranks decide alike."""
        module, step = cast(QuestionAnsweringModule, module), trainer.global_step
        if step >= module.total_steps:
            trainer.should_stop = True  # max_steps alone ends a fit in mid-epoch without an evaluation
        if trainer.should_stop and trainer.check_val_every_n_epoch:
            trainer.check_val_every_n_epoch = 1  # the last step is evaluated whatever the interval
        self._agreed, due, written = module.agreed
        due |= bool(self.every_n_steps and step % self.every_n_steps == 0)
        pending = evaluation_follows(trainer)
        if step % self.steps_per_epoch == 0 and not pending:
            return  # the epoch's row comes first
        if written:
            self.files.finish(trainer)
        if self._agreed or due:
            module.read_step()
            self._save(trainer, pending)
        self._end_if_asked(trainer)

    def _wishes(self) -> tuple[int, int, int]:
        """The signal that this rank got, whether its clock says that a checkpoint is due, and whether one is written.

        Asked once a step.
        """
        is_due = bool(self.every_n_minutes and self.files.minutes() > self.every_n_minutes)
        return self._signal.number, is_due, self.files.writer.is_done()

    def _end_if_asked(self, trainer: Trainer) -> None:
        if self._agreed:
            self.files.finish(trainer)
            trainer.strategy.barrier()  # once one has ended a launcher may end all: the first has its files now
            raise Interrupted(self._agreed)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, pending=True)

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int, loader: int = 0
    ) -> None:
        if self._signal.number:
            raise Interrupted(self._signal.number)  # the checkpoint was saved before the evaluation

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.files.finish(trainer)  # of these weights: what is written now is known to none before it
            self.add_evaluation(trainer, cast(QuestionAnsweringModule, module), trainer.global_step)
            self._save(trainer, best=self.best is self.rows[-1])

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Adds a row for an epoch without an evaluation, too."""
        if not self.rows or self.rows[-1].step != trainer.global_step:
            self._add_row(trainer, cast(QuestionAnsweringModule, module), trainer.global_step, {})
            self._save(trainer)
            self._end_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.files.finish(trainer)
        self._signal.stop()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self.files.finish(trainer, failed=True)

    def _save(self, trainer: Trainer, pending: bool = False, best: bool = False) -> None:
        self._pending = pending
        all_steps = cast(QuestionAnsweringModule, trainer.lightning_module).total_steps
        self.ended = trainer.should_stop and not pending and trainer.global_step < all_steps
        self.files.save(trainer, best)

    # the rows

    def add_evaluation(self, trainer: Trainer, module: QuestionAnsweringModule, step: int) -> None:
        """Adds a row for an evaluation after `step` steps; writes its answers where it is the best so far."""
        self._add_row(trainer, module, step, dict(module.figures))

    def _add_row(self, trainer: Trainer, module: QuestionAnsweringModule, step: int, figures: dict[str, float]) -> None:
        epoch = step / self.steps_per_epoch
        figures["train_loss"] = module.loss_sum / max(module.loss_windows, 1)
        row = Row(epoch=int(epoch) if epoch.is_integer() else epoch, step=step, **figures)
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": epoch, **figures}, step)
        if better(row, self.best or Row(), self.monitor):
            self.best = row
            if trainer.is_global_zero and module.evaluation:
                evaluation, self.calibration = calibrate_evaluation(module.evaluation)
                write_predictions(self.files.run.path, evaluation)
        module.evaluation = None  # large, and on the disk where it is the best
        console.print(row_in_words(row) + (" ← best so far" if row is self.best else ""), soft_wrap=True)

    def resume_from(self, path: Path, checkpoint: dict[str, Any], writes: bool) -> None:
        """Takes over the rows of a checkpoint, and the best epoch's files where that is in another run's folder.

        `writes`: whether this rank does. Where the best epoch's weights are gone, the best of those to come is taken.
        """
        state = checkpoint["callbacks"][self.state_key]
        self.rows = [Row(**row) for row in state["rows"]]
        self.best = state["best"] and Row(**state["best"])
        self.calibration = Calibrated(**state["calibration"]) if state.get("calibration") else None
        self.ended, self.pruned = state["ended"], state["pruned"]
        self.schedule_changes = list(state["schedule"])
        self._take_identity(checkpoint, is_own(path, self.files.run.path))
        self.files.resume_from(path, checkpoint["global_step"])
        best = path.with_name("best.ckpt")
        best_step = load_checkpoint(best)["global_step"] if best.exists() else None
        if self.best and best_step != self.best.step:
            # killed between the two names: an evaluation found better weights, and is about to find them again
            if not (checkpoint["pending"] and best_step == checkpoint["global_step"]):
                log.warning("%s: does not hold the weights of step %d; the best to come is taken", best, self.best.step)
            self.best = None
        elif self.best and writes:
            self.files.adopt_best(best)

    def _take_identity(self, checkpoint: dict[str, Any], is_own: bool) -> None:
        """Adds to the run's identity the checkpoint that the run began with, and the code of its earlier steps."""
        before = checkpoint["run"]
        if is_own and "resume" in before["inputs"]:
            self.identity["inputs"].setdefault("resume", before["inputs"]["resume"])
        if differences(before, self.identity):  # the cause of its end, such as its time, may be another now
            self.ended = False
        earlier_code = list(before.get("earlier_code", []))
        if other_code(before, self.identity):
            code = {key: before[key] for key in ("code", "versions")}
            earlier_code.append({"until_step": checkpoint["global_step"], **code})
        if earlier_code:
            self.identity["earlier_code"] = earlier_code

    def final_identity(self) -> dict[str, Any]:
        """The identity of the finished run: a fit that its search ended early is another than a whole one."""
        pruned = {PRUNED: True} if self.pruned else {}
        return {**self.identity, "settings": {**self.identity.get("settings", {}), **pruned}}

    # in checkpoints

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"], checkpoint["pending"] = self.identity, self._pending
        checkpoint["total_steps"] = cast(QuestionAnsweringModule, module).total_steps
        checkpoint["steps_per_epoch"] = self.steps_per_epoch
        checkpoint["loops"]["fit_loop"].update(loop_state(trainer.global_step, self.steps_per_epoch))

    def state_dict(self) -> dict[str, Any]:
        """The state for `resume_from`; Lightning, which restores callbacks later, must not undo later changes."""
        return {
            "rows": [row.model_dump() for row in self.rows],
            "best": self.best and self.best.model_dump(),
            "calibration": self.calibration and self.calibration.model_dump(),
            "ended": self.ended,
            "schedule": self.schedule_changes,
            "pruned": self.pruned,
        }
