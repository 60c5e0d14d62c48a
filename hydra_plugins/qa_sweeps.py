"""Launchers that run the jobs of a multirun, and the sweeper of a search. Hydra looks for them in this package."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from qa import processes, ranks
from qa.config.command_line import quoted
from qa.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from qa.sweeps.engines import Job, JobEngine
    from qa.sweeps.search import Search


class JobLauncher(Launcher):
    """Runs each job as `python train.py …` in its own folder below `hydra.sweep.dir`."""

    n_jobs: int

    def engine(self, folder: Path) -> "JobEngine":
        """The engine that runs the jobs of the sweep in `folder`."""
        raise NotImplementedError

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Reads the settings of the sweep. Errors: UserError for wrong ones."""
        from qa.config.settings import SweepSettings
        from qa.config.wording import validated
        from qa.sweeps.sweep import Sweep

        if ranks.rank() is not None:
            raise UserError(
                "-m: start a sweep by python, not by torchrun or srun; hydra/launcher=submitit_slurm queues its jobs"
            )
        if not (isinstance(self.n_jobs, int) and self.n_jobs > 0):
            raise UserError(f"hydra.launcher.n_jobs={self.n_jobs}: should be a whole number greater than 0")
        self.context, self.config = hydra_context, config
        self.settings = validated(SweepSettings, OmegaConf.to_container(config.sweep, resolve=True), "sweep")
        self.sweep = Sweep(Path(config.hydra.sweep.dir), config.checkpoint.monitor, self.settings.keep_best)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs all combinations of a grid. Raises SystemExit where one failed."""
        keys = {override.key_or_group for override in self.grid()} | set(self.config.hydra.sweeper.get("params") or {})
        self.run_grid(job_overrides, keys)
        return []

    def run_grid(self, job_overrides: Sequence[Sequence[str]], keys: AbstractSet[str]) -> None:
        """Runs the jobs that are not finished; `keys`: the settings in which jobs differ."""
        self.begin(searching=False)
        self.run(self._unfinished(job_overrides, keys), len(job_overrides))

    def begin(self, searching: bool) -> None:
        """Checks the sweep's folder before anything in it changes.

        Errors: UserError where it holds a grid and this is a search, or the other way round, or jobs of other settings.
        """
        from qa.sweeps.sweep import JOURNAL

        if not self.settings.resume:
            self.sweep.move_aside()
        elif self.sweep.rows():
            if searching != (self.sweep.folder / JOURNAL).exists():
                raise UserError(
                    f"{self.sweep.folder}: holds the jobs of a {'grid' if searching else 'search'}; give another"
                    " hydra.sweep.dir"
                )
            self.check_rows()

    def _unfinished(self, job_overrides: Sequence[Sequence[str]], keys: AbstractSet[str]) -> Iterator["Job"]:
        for arguments in job_overrides:
            values = {o.key_or_group: o.value() for o in self.parsed(arguments) if o.key_or_group in keys}
            # what JSON does not know is kept as Hydra writes it
            settings = {key: v if isinstance(v, int | float | str | None) else str(v) for key, v in values.items()}
            if (number := self.sweep.take(settings)) is not None:
                yield self.job(number, settings, arguments)[0]

    def job(self, number: int, settings: Mapping[str, Any], arguments: Sequence[str]) -> tuple["Job", dict[str, Any]]:
        """A job and its whole configuration; `settings` set it apart from the other jobs."""
        from qa.sweeps.engines import Job

        config = self.context.config_loader.load_sweep_config(self.config, list(arguments))
        with open_dict(config):
            config.hydra.job.num, config.hydra.job.id = number, str(number)
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)
        whole: Any = OmegaConf.to_container(config)
        group = "/".join(self.sweep.folder.parts[-2:])
        environment = {"WANDB_RUN_GROUP": os.environ.get("WANDB_RUN_GROUP", group), processes.SWEEP: "1"}
        return Job(number, settings, folder, arguments, environment), whole

    def check_rows(self) -> None:
        """Errors: UserError where a job of an earlier start had other settings than its row and this command give."""
        from qa.config.composed import resolved
        from qa.runs.checkpoints import check_holds

        given = self.parsed(self.config.hydra.overrides.task)
        fixed = [override for override in given if not override.is_sweep_override()]
        for row in self.sweep.rows():
            again = [o for o in fixed if o.key_or_group not in row.settings]
            again += [o for o in self.parsed(row.arguments) if o.key_or_group in row.settings]
            _, config = self.job(row.job, row.settings, [override.input_line or "" for override in again])
            try:
                check_holds(self.sweep.folder / row.folder, resolved(config))
            except UserError as error:
                raise UserError(
                    f"{error}; nothing was changed: give another hydra.sweep.dir, or sweep.resume=false, which moves"
                    " the earlier sweep aside"
                ) from None

    def parsed(self, arguments: Sequence[str]) -> list["Override"]:
        """Overrides as Hydra reads them."""
        return OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(list(arguments))

    def grid(self) -> list["Override"]:
        """The overrides with several values on the command line."""
        return [override for override in self.parsed(self.config.hydra.overrides.task) if override.is_sweep_override()]

    def run(self, jobs: Iterator["Job"], count: int, search: "Search | None" = None) -> None:
        """Runs `count` jobs, shows their results, and raises SystemExit where one failed."""
        from qa.console import console
        from qa.sweeps.sweep import report_disk

        if self.config.stage == "fit":
            kept = min(count, self.n_jobs + (self.settings.keep_best or count))
            report_disk(self.config.model.pretrained, self.config.checkpoint, self.sweep.folder, kept)
        status = self.sweep.run(jobs, self.engine(self.sweep.folder), search)
        from qa.review.sweep_page import write_sweep_page

        based_on = write_sweep_page(self.sweep)
        self.sweep.show(console)
        for line in [*based_on, *self.sweep.next_steps()]:
            console.print(line)
        if status:
            again = "The same command" if self.settings.resume else "The same command without sweep.resume=false"
            console.print(f"{again} with hydra.sweep.dir={self.sweep.folder} skips finished jobs and runs the others.")
            sys.exit(status)


class LocalLauncher(JobLauncher):
    """Runs jobs on this machine, `n_jobs` at once."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def engine(self, folder: Path) -> "JobEngine":
        from qa.config.devices import wanted_devices
        from qa.sweeps.engines import Processes, device_slots, visible_gpus

        if self.n_jobs == 1:
            return Processes([{}])
        trainer: Any = OmegaConf.to_container(self.config.trainer)
        gpus = [] if trainer["accelerator"] == "cpu" else visible_gpus()
        if gpus and not isinstance(trainer["devices"], int):
            raise UserError(
                f"hydra.launcher.n_jobs={self.n_jobs}: each job gets GPUs of its own, so that trainer.devices="
                f"{trainer['devices']} must be their number; choose among them by CUDA_VISIBLE_DEVICES"
            )
        return Processes(device_slots(self.n_jobs, wanted_devices(trainer), gpus))


class SubmititLauncher(JobLauncher):
    """Runs jobs on a cluster, by submitit; `cluster=local` tries the same on this machine."""

    def __init__(self, cluster: str, n_jobs: int, **parameters: Any) -> None:
        """`parameters`: of `submitit.AutoExecutor.update_parameters`."""
        self.cluster, self.n_jobs = cluster, n_jobs
        self.parameters = {name: value for name, value in parameters.items() if value is not None}

    def engine(self, folder: Path) -> "JobEngine":
        from qa.sweeps.engines import Submitted, visible_gpus

        if self.cluster == "local" and self.config.trainer.accelerator != "cpu" and visible_gpus():
            raise UserError("hydra/launcher=submitit_local: has no GPUs for its jobs; take hydra/launcher=local")
        return Submitted(folder / ".submitit", self.cluster, self.n_jobs, self.parameters)


class JobSweeper(Sweeper):
    """A sweeper that proposes jobs to a `JobLauncher`."""

    launcher: JobLauncher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Errors: UserError for a launcher of another kind."""
        self.seed = config.seed
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(launcher, JobLauncher):
            choice = config.hydra.runtime.choices["hydra/sweeper"]
            raise UserError(f"sweep={choice}: needs hydra/launcher=local, submitit_local or submitit_slurm")
        self.launcher = launcher


class FactorialSweeper(JobSweeper):
    """Runs the part of all combinations of two values each that tells the effects of the settings apart."""

    def sweep(self, arguments: list[str]) -> None:
        """Runs the jobs, each with its own seed. Errors: UserError for a setting with other than two values."""
        from qa.statistics.effects import fractional_factorial

        grid = self.launcher.grid()
        factors = {override.get_key_element(): list(override.sweep_string_iterator()) for override in grid}
        for key, values in factors.items():
            if key == "seed" or len(values) != 2:
                problem = "each job gets a seed of its own" if key == "seed" else f"{len(values)} values"
                raise UserError(f"{key}={','.join(values)}: {problem}; sweep=factorial takes settings with two values")
        if len(factors) < 2:
            raise UserError("sweep=factorial: takes at least two settings with two values, as optimizer.lr=1e-5,2e-5")
        varied = {*(override.key_or_group for override in grid), "seed"}
        fixed = [o.input_line or "" for o in self.launcher.parsed(arguments) if o.key_or_group not in varied]
        jobs = []
        for job, levels in enumerate(fractional_factorial(len(factors)).tolist()):
            chosen = (f"{key}={pair[level]}" for (key, pair), level in zip(factors.items(), levels, strict=True))
            jobs.append([*fixed, *chosen, f"seed={self.seed + job}"])
        self.launcher.run_grid(jobs, varied)


class SearchSweeper(JobSweeper):
    """Asks Optuna for the next job instead of going through a grid."""

    def sweep(self, arguments: list[str]) -> None:
        """Runs the search. Errors: UserError for a space that cannot be searched, or a grid given besides."""
        from qa.sweeps.search import Search

        launcher = self.launcher
        if grid := launcher.grid():
            raise UserError(
                f"{grid[0].input_line}: sweep=optuna takes its values from sweep.space; put it there, or remove"
                " sweep=optuna"
            )
        if launcher.settings.n_trials is None:
            raise UserError("sweep.n_trials: not given; take sweep=optuna, which has it and sweep.space")
        if not launcher.settings.space:
            raise UserError("sweep.space: nothing to search in; give a setting and its values")
        for name, choices in launcher.settings.space.items():  # a wrong value is an error before it is a trial
            for value in choices if isinstance(choices, list) else [choices.low]:
                launcher.job(0, {}, [*arguments, f"{name}={quoted(value)}"])
        launcher.begin(searching=True)
        settings = launcher.settings
        pruner, sampler = instantiate(settings.pruner), partial(instantiate, settings.sampler)
        search = Search(launcher.sweep.folder, settings, launcher.sweep.monitor, self.seed, pruner, sampler)

        def jobs() -> Iterator["Job"]:
            for number, values in search.trials():
                proposed = [f"{name}={quoted(value)}" for name, value in values.items()]
                job, _ = launcher.job(number, values, [*arguments, *proposed])
                yield job._replace(environment={**job.environment, **search.environment(number)})

        launcher.run(jobs(), launcher.settings.n_trials, search)
