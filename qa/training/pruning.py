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

    The study's steps are percent of the fit's own, see `by_share`. What the run shows until then is kept as that of a
    finished one.
    """

    def __init__(self, trial: str, pruner: BasePruner) -> None:
        """`trial`: as `Search.environment` has it."""
        number, _, journal = trial.partition(":")
        self.number, self.journal, self.pruner = int(number), Path(journal), pruner

    def look(self, trainer: Trainer, module: QuestionAnsweringModule, history: History, rows: list[Row]) -> None:
        """Also for a resumed run, whose last evaluation the study may not know."""
        values = list(by_share(rows, module.total_steps, history.monitor))
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
