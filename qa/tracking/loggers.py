"""Weights & Biases and TensorBoard, also for a run that was interrupted and resumes."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from qa import processes
from qa.console import console
from qa.errors import UserError, first_line
from qa.review.report import RunReport
from qa.runs.folder import RunFolder
from qa.runs.identity import commit
from qa.runs.metrics_csv import STEP, read_metrics
from qa.runs.results import V2_FIGURES
from qa.tracking.account import host, why_offline
from qa.tracking.tables import end_of_run

if TYPE_CHECKING:
    import wandb

SUMMARY: dict[str, Literal["min", "max"]] = {"val/loss": "min", "val/exact_match": "max", "val/f1": "max"}


def dashboard_name(figure: str) -> str:
    """The name of a figure on a dashboard, with the section as its first part; foreign figures keep their names."""
    if figure in STEP or figure == "train_loss":
        return f"train/{figure.replace('train_loss', 'epoch_loss')}"
    is_ours = figure in (*V2_FIGURES, "kept_threshold") or figure.startswith(("val_loss", "exact_match", "f1"))
    return f"val/{figure.removeprefix('val_')}" if is_ours else figure


class TensorBoard(TensorBoardLogger):
    """An event file in the run folder, under the names of the dashboard."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({dashboard_name(name): value for name, value in metrics.items()}, step)


class Wandb(Logger):
    """A Weights & Biases run; its `_step` is the optimiser's.

    A resumed run is the same W&B run: its id is kept in the run folder, and it begins by logging `metrics.csv` again.
    Online that fills the gap that the last process left; offline, where each process writes a folder of its own, the
    newest one holds the whole run.
    """

    name = "wandb"
    version = 0

    def __init__(
        self,
        folder: str,
        project: str,
        name: str | None = None,
        mode: Literal["online", "offline"] | None = None,
        log_model: bool = False,
        answers: bool = False,
    ) -> None:
        """`mode`: None is WANDB_MODE or else online, where that can be; `answers`: whether it gets texts of the data.

        Errors: UserError for online that cannot be.
        """
        super().__init__()
        self.files, self.project, self.run_name, self.log_model = RunFolder(Path(folder)), project, name, log_model
        self.answers = answers
        wanted = mode or os.environ.get("WANDB_MODE")
        self.why_offline = why_offline() if wanted in ("online", None) else None
        self.mode: Any = wanted or ("offline" if self.why_offline else "online")
        if self.mode == "online" and self.why_offline:
            raise UserError(
                f"logger.mode=online: {self.why_offline}, or take logger.mode=offline and sync the run later"
            )
        self.run: wandb.Run | None = None
        self._config: dict[str, Any] = {}

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """`params`: the configuration, as plain values."""
        self._config = {**params, "commit": commit()}

    def sends(self) -> str:
        """The data that leave this machine, and their target, for people."""
        where = f"{host()} gets" if self.mode == "online" else "`wandb sync` will send"
        model = ", the best model" if self.log_model else ""
        texts = "no texts of the data: logger.answers=true adds some answers in their contexts"
        if self.answers:
            texts = "up to 600 questions and answers in their contexts, and what the terminal shows"
        return f"{where} figures, settings with their paths, names of machine and user{model}; {texts}"

    @property
    @rank_zero_experiment
    def experiment(self) -> "wandb.Run":
        """The run, begun or resumed if it is not yet; Lightning asks for it before a stage's first step.

        Errors: UserError where W&B refuses.
        """
        if self.run is not None:
            return self.run
        import wandb

        self.files.wandb.mkdir(exist_ok=True)
        id_file = self.files.wandb / "run-id"
        try:
            self.run = wandb.init(
                project=self.project,
                name=self.run_name,
                dir=self.files.path,
                config=self._config,
                mode=self.mode,
                id=id_file.read_text(encoding="utf-8") if id_file.exists() else None,
                resume="allow",
                # what the terminal shows ends with some answers
                settings=wandb.Settings(silent=True, console="auto" if self.answers else "off"),
            )
        except (wandb.Error, TimeoutError) as error:
            raise UserError(f"logger=wandb: {first_line(error)}; fix it, or take logger.mode=offline") from None
        id_file.write_text(self.run.id, encoding="utf-8")
        self.run.define_metric("epoch", hidden=True)
        self.run.define_metric("train/epoch_loss", step_metric="epoch")
        for name, summary in SUMMARY.items():
            self.run.define_metric(name, step_metric="epoch", summary=summary)
        reason = f" ({self.why_offline})" if self.why_offline else ""
        console.print(f"W&B: {self.run.url if self.mode == 'online' else self.mode}{reason}")
        for step, metrics in read_metrics(self.files.metrics):
            self._log(metrics, step)
        return self.run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs figures. An interrupted evaluation may belong to a step that is sent already: the next one takes it."""
        assert step is not None
        self._log(metrics, max(step, self.experiment.step) if "epoch" in metrics else step)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        named, run = {dashboard_name(name): value for name, value in metrics.items()}, self.experiment
        for name in named:
            if name.startswith("val/") and name not in SUMMARY:  # of SQuAD v2, or of a language
                run.define_metric(name, step_metric="epoch")
        if step >= run.step:  # the others are sent, and wandb would warn of each
            run.log(named, step=step)

    @rank_zero_only
    def log_end(self, report: RunReport, seed: int) -> None:
        """Logs the tables of a finished run and, asked to, its best model; ends the run. `seed`: of samples."""
        run, results = self.experiment, report.results
        if results.windows.train is None and results.best:  # the figures of a fit are logged by its history
            self._log(results.best.model_dump(exclude={"step"}, exclude_none=True), results.best.step or 0)
        run.log(end_of_run(report, seed, self.answers), step=run.step)
        if self.log_model and self.files.model.exists():
            run.log_model(self.files.model, name=f"model-{run.id}", aliases=["best"])
        self._end(0)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run after a failure; the trainer calls it after each of its loops."""
        if status != "success":
            self._end(1)

    def _end(self, exit_code: int) -> None:
        if self.run is not None:
            self.run.finish(exit_code)
            if self.mode == "offline" and processes.SWEEP not in os.environ:  # a sweep names all of its runs at once
                folder = shlex.quote(str(Path(self.run.dir).parent))
                console.print(f"to W&B by: wandb sync {folder}", soft_wrap=True)
            self.run = None
