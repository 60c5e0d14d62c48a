"""A search: Optuna proposes the next job's values from those that have ended, and cuts bad ones short."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from filelock import FileLock, Timeout
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from optuna import Study
from optuna.pruners import BasePruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from qa import UserError
from qa.checkpoints import History
from qa.launch import TRIAL
from qa.module import QuestionAnsweringModule
from qa.report import Row
from qa.settings import Interval, Monitor, SweepSettings
from qa.sweep_rows import SweepRow, is_finite
from qa.sweeps import JOURNAL

Values = list[Any] | Interval


class JournalLock:
    """A lock that the kernel releases with its process, as Optuna asks for one; its own outlive a kill."""

    def __init__(self, journal: Path) -> None:
        self._lock = FileLock(journal.with_name(f".{journal.name}.lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_torn_line(journal: Path, lock: JournalLock) -> None:
    """Cuts off a last line that a power cut or a full disk left unfinished: the next would be glued to it."""
    lock.acquire()
    try:
        if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def open_study(journal: Path, monitor: Monitor = "val_loss", pruner: Any = None) -> Study:
    """The study that the file keeps, or a new one in it. Several processes may have it open.

    Errors: UserError for a damaged file.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = JournalLock(journal)
    _cut_torn_line(journal, lock)
    backend = JournalFileBackend(str(journal), cast(Any, lock))
    direction = StudyDirection.MINIMIZE if monitor == "val_loss" else StudyDirection.MAXIMIZE
    try:
        return optuna.create_study(
            storage=JournalStorage(backend), study_name="search", direction=direction,
            pruner=pruner, load_if_exists=True,
        )  # fmt: skip
    except ValueError:
        raise UserError(f"{journal}: damaged; give another hydra.sweep.dir, or sweep.resume=false") from None


class Search:
    """The trials of a study in a sweep's folder; a trial's number is its job's.

    What is proposed is a function of (seed, number of the trial, trials that have ended): a search that was killed goes
    on as if it had not been. A lock shows whether a trial that is under way has a process that sees to it.
    """

    def __init__(self, folder: Path, settings: SweepSettings, monitor: Monitor, seed: int) -> None:
        """Errors: UserError for a study of another space or monitor."""
        self.folder, self.settings, self.monitor, self.seed = folder, settings, monitor, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = folder / JOURNAL
        self.study = open_study(self.journal, monitor, instantiate(settings.pruner))
        self._asking = FileLock(folder / ".asking")
        self._held: dict[int, FileLock] = {}
        about = {"monitor": monitor, "space": settings.model_dump(include={"space"})["space"]}
        if self.study.user_attrs.get("about", about) != about:
            raise UserError(
                f"{self.journal}: a study of another sweep.space or checkpoint.monitor; give another hydra.sweep.dir"
            )
        self.study.set_user_attr("about", about)
        # of earlier starts: what made them fail may be mended, so that they do not count
        self._failed = len(self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))

    def trials(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and values of each trial that is to be run; first those that a dead process left under way."""
        while True:
            with self._asking:
                trial = self._abandoned() or self._asked()
                if trial is None:
                    return
                space = self.settings.space.items()
                proposed = {name: suggested(trial, name, values) for name, values in space}
            yield trial.number, proposed

    def _abandoned(self) -> Trial | None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in self._held and self._hold(trial.number):
                self._seed(trial.number)
                return live(self.study, trial.number)
        return None

    def _asked(self) -> Trial | None:
        number = len(self.study.get_trials(deepcopy=False))
        if number - self._failed >= (self.settings.n_trials or 0):
            return None
        self._seed(number)
        trial = self.study.ask()
        self._hold(trial.number)
        return trial

    def _seed(self, number: int) -> None:
        own = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        self.study.sampler = instantiate(self.settings.sampler, seed=int(own))

    def _hold(self, number: int) -> bool:
        lock = FileLock(self.folder / f".trial-{number}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._held[number] = lock
        return True

    def environment(self, number: int) -> Mapping[str, str]:
        """What tells a job's process which trial it is."""
        return {TRIAL: f"{number}:{self.journal.resolve()}"}

    def pruned(self, number: int) -> bool:
        """Whether a trial was cut short."""
        return "pruned" in live(self.study, number).user_attrs

    def tell(self, row: SweepRow) -> None:
        """Takes in a job's end; one that was interrupted stays under way, and goes on with the next start."""
        value = getattr(row, self.monitor)
        if row.status == "finished" and is_finite(value):
            self.study.tell(row.job, value, state=TrialState.COMPLETE)
        elif row.status == "pruned":
            self.study.tell(row.job, state=TrialState.PRUNED)
        elif row.status in ("finished", "failed"):
            self.study.tell(row.job, state=TrialState.FAIL)
        self._held.pop(row.job).release()


def live(study: Study, number: int) -> Trial:
    """The trial of a number, to be reported to."""
    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def suggested(trial: Trial, name: str, values: Values) -> Any:
    """A value for the setting `name`; whole numbers where the bounds are whole."""
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high, step = values.low, values.high, values.step
    if values.whole:
        return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=values.log)
    return trial.suggest_float(name, low, high, step=step, log=values.log)


def by_share(rows: Sequence[Row], total_steps: int, monitor: Monitor) -> Iterator[tuple[int, float]]:
    """What is known of a fit after each percent of its own steps, from its first evaluation to its last.

    Trials of other lengths, or with other evaluations, are so compared at the same share of their schedules.
    """
    found = ((math.ceil(100 * (row.step or 0) / total_steps), getattr(row, monitor)) for row in rows)
    known = [(percent, value) for percent, value in found if value is not None]
    ends = [percent for percent, _ in known[1:]] + [percent + 1 for percent, _ in known[-1:]]
    for (begin, value), end in zip(known, ends, strict=True):
        yield from ((percent, value) for percent in range(begin, end))


class Pruning(Callback):
    """Reports each evaluation of a fit to its study, and ends the fit where the study's pruner gives it up.

    The study's steps are percent of the fit's own, see `by_share`. What the run shows until then is kept as that of a
    finished one.
    """

    def __init__(self, trial: str, pruner: BasePruner) -> None:
        """`trial`: what `Search.environment` says."""
        number, _, journal = trial.partition(":")
        self.number, self.journal, self.pruner = int(number), Path(journal), pruner

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._look(trainer, module, [])

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            assert isinstance(module, QuestionAnsweringModule)
            row = Row(step=trainer.global_step, **module.figures)  # the history takes it in after all other callbacks
            self._look(trainer, module, [row])

    def _look(self, trainer: Trainer, module: LightningModule, new: list[Row]) -> None:
        """Also of a run that goes on, whose last evaluation the study may not know."""
        history = trainer.checkpoint_callback
        assert isinstance(history, History) and isinstance(module, QuestionAnsweringModule)
        values = list(by_share([*history.rows, *new], module.total_steps, history.monitor))
        stop = False
        if values and trainer.is_global_zero:
            study = open_study(self.journal, history.monitor, self.pruner)
            trial = live(study, self.number)
            known = study.get_trials(deepcopy=False)[self.number].intermediate_values
            unknown = [(percent, value) for percent, value in values if percent not in known]
            for percent, value in unknown[-1:]:
                trial.report(value, percent)
            stop = trainer.global_step < module.total_steps and ("pruned" in trial.user_attrs or trial.should_prune())
            for percent, value in unknown[:-1]:  # after the pruner, which would take them for evaluations
                trial.report(value, percent)
            if stop:
                trial.set_user_attr("pruned", True)
        history.pruned |= trainer.strategy.broadcast(bool(stop))  # NumPy's would not load from a checkpoint
        trainer.should_stop |= history.pruned
