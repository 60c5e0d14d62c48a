"""A fit that its search may end early."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from optuna.pruners import BasePruner

from qa.internals import live_trial
from qa.runs.results import Row
from qa.sweeps.study import by_share, open_study
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule


class Pruning(Callback):
    """Reports each evaluation of a fit to its study, and ends the fit where the study's pruner gives it up.

    The study's steps are percent of the fit's own, see `by_share`. What the run shows until then is kept as that of a
    finished one.
    """

    def __init__(self, trial: str, pruner: BasePruner) -> None:
        """`trial`: as `Search.environment` has it."""
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
        """Also for a resumed run, whose last evaluation the study may not know."""
        history = trainer.checkpoint_callback
        assert isinstance(history, History) and isinstance(module, QuestionAnsweringModule)
        values = list(by_share([*history.rows, *new], module.total_steps, history.monitor))
        stop = False
        if values and trainer.is_global_zero:
            study = open_study(self.journal, history.monitor, self.pruner)
            trial = live_trial(study, self.number)
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
