"""A fit that its search may end early."""

from pathlib import Path

from lightning import Trainer
from optuna.pruners import BasePruner

from qa.internals import live_trial
from qa.runs.results import Row
from qa.sweeps.study import by_share, open_study
from qa.training.callbacks import AfterEvaluations
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule


class Pruning(AfterEvaluations):
    """Reports each evaluation of a fit to its study, and ends the fit where the study's pruner gives it up.

    The study's steps are percent of the fit's own, see `by_share`. The run keeps its results, like a finished one.
    """

    def __init__(self, trial: str, pruner: BasePruner) -> None:
        """`trial`: of `Search.environment`."""
        number, _, journal = trial.partition(":")
        self.number, self.journal, self.pruner = int(number), Path(journal), pruner

    def look(self, trainer: Trainer, module: QuestionAnsweringModule, history: History, rows: list[Row]) -> None:
        """Reports a resumed run, too: the study may not know its last evaluation."""
        values = list(by_share(rows, module.total_steps, history.monitor))
        stop = False
        if values and trainer.is_global_zero:
            study = open_study(self.journal, history.monitor, self.pruner)
            trial = live_trial(study, self.number)
            reported = study.get_trials(deepcopy=False)[self.number].intermediate_values
            new = [(percent, value) for percent, value in values if percent not in reported]
            for percent, value in new[-1:]:
                trial.report(value, percent)
            stop = trainer.global_step < module.total_steps and ("pruned" in trial.user_attrs or trial.should_prune())
            for percent, value in new[:-1]:  # after the pruner, which would take them for evaluations
                trial.report(value, percent)
            if stop:
                trial.set_user_attr("pruned", True)
        history.pruned |= trainer.strategy.broadcast(bool(stop))  # NumPy's would not load from a checkpoint
        trainer.should_stop |= history.pruned
