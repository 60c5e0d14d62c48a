"""A search: Optuna proposes the next job's values from those that have ended, and cuts bad ones short."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from qa.config.settings import Interval, SweepSettings
from qa.errors import UserError
from qa.internals import live_trial
from qa.processes import TRIAL
from qa.runs.results import Monitor
from qa.sweeps.job_locks import JobLocks
from qa.sweeps.rows import SweepRow, is_finite
from qa.sweeps.study import open_study
from qa.sweeps.sweep import JOURNAL

Values = list[Any] | Interval


class Search:
    """The trials of a study in a sweep's folder; a trial's number is its job's.

    A proposal is a function of (seed, number of the trial, trials that have ended): a search that was killed resumes as
    if it had not been. A lock shows whether a trial that is under way has a process that sees to it.
    """

    def __init__(
        self,
        folder: Path,
        settings: SweepSettings,
        monitor: Monitor,
        seed: int,
        pruner: BasePruner,
        sampler: Callable[..., BaseSampler],
    ) -> None:
        """`sampler(seed=…)` proposes one trial. Errors: UserError for a study of another space or monitor."""
        self.folder, self.settings, self.monitor, self.seed = folder, settings, monitor, seed
        self._sampler = sampler
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = folder / JOURNAL
        self.study = open_study(self.journal, monitor, pruner)
        self._asking = FileLock(folder / ".asking")
        self._locks = JobLocks(folder)
        about = {"monitor": monitor, "space": settings.model_dump(include={"space"})["space"]}
        if self.study.user_attrs.get("about", about) != about:
            raise UserError(
                f"{self.journal}: a study of another sweep.space or checkpoint.monitor; give another hydra.sweep.dir"
            )
        self.study.set_user_attr("about", about)
        # of earlier starts: their cause may be fixed by now, so that they do not count
        self._failed = len(self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))

    def trials(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and values of each trial to run; first the ones that a dead process left under way."""
        while True:
            with self._asking:
                trial = self._abandoned() or self._asked()
                if trial is None:
                    return
                proposed = {name: suggest(trial, name, values) for name, values in self.settings.space.items()}
            yield trial.number, proposed

    def _abandoned(self) -> Trial | None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._locks.take(trial.number):
                self._seed(trial.number)
                return live_trial(self.study, trial.number)
        return None

    def _asked(self) -> Trial | None:
        number = len(self.study.get_trials(deepcopy=False))
        if number - self._failed >= (self.settings.n_trials or 0):
            return None
        self._seed(number)
        trial = self.study.ask()
        self._locks.take(trial.number)
        return trial

    def _seed(self, number: int) -> None:
        """The first trials, before there is anything to propose from, cover the space evenly."""
        if number < self.settings.sampler.get("n_startup_trials", 0):
            self.study.sampler = EvenSampler(list(self.settings.space), self.seed, number)
        else:
            trial_seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
            self.study.sampler = self._sampler(seed=int(trial_seed))

    def environment(self, number: int) -> Mapping[str, str]:
        """The variable that tells a job's process its trial."""
        return {TRIAL: f"{number}:{self.journal.resolve()}"}

    def pruned(self, number: int) -> bool:
        """Whether a trial was cut short."""
        return "pruned" in live_trial(self.study, number).user_attrs

    def tell(self, row: SweepRow) -> None:
        """Takes in a job's end; one that was interrupted stays under way, and resumes with the next start."""
        value = getattr(row, self.monitor, None)
        if row.status == "finished" and is_finite(value):
            self.study.tell(row.job, value, state=TrialState.COMPLETE)
        elif row.status == "pruned":
            self.study.tell(row.job, state=TrialState.PRUNED)
        elif row.status in ("finished", "failed"):
            self.study.tell(row.job, state=TrialState.FAIL)
        self._locks.release(row.job)


class EvenSampler(BaseSampler):
    """Proposes the point of a scrambled Sobol sequence that belongs to a trial's number.

    Each trial has a sampler of its own: random points of several would not know of each other, and lie together.
    """

    def __init__(self, names: Sequence[str], seed: int, number: int) -> None:
        from scipy.stats import qmc  # slow to import, and only a search needs it

        points = qmc.Sobol(len(names), rng=seed).random_base2(number.bit_length())
        self._shares = dict(zip(names, points[number].tolist(), strict=True))  # of each setting's range, in [0, 1)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """No settings: each is proposed on its own."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """No values, as no settings are proposed together."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value at the setting's share of its range."""
        share, values = self._shares[param_name], param_distribution
        if isinstance(values, CategoricalDistribution):
            return values.choices[int(share * len(values.choices))]
        assert isinstance(values, FloatDistribution | IntDistribution)
        if values.log:
            value = values.low * (values.high / values.low) ** share
            return value if isinstance(values, FloatDistribution) else round(value)
        if values.step is None:
            return values.low + share * (values.high - values.low)
        return values.low + values.step * int(share * (round((values.high - values.low) / values.step) + 1))


def suggest(trial: Trial, name: str, values: Values) -> Any:
    """A value for the setting `name`; whole numbers where the bounds are whole."""
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high, step = values.low, values.high, values.step
    if values.whole:
        return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=values.log)
    return trial.suggest_float(name, low, high, step=step, log=values.log)
