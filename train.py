"""The one entry point: check the settings, start a process for each device, build the parts, run the stage."""

import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from qa import processes, ranks
from qa.config.composed import resolved
from qa.config.entry import ask_hub, exit_status, read_settings, register_resolvers, run_ranks_here
from qa.config.hydra_errors import explain_in_job
from qa.config.run_start import RunStart, take
from qa.config.settings import check_sources
from qa.config.targets import check_values
from qa.console import console, mute_rank, quiet_libraries
from qa.data.squad_data import SquadData
from qa.memory import keep_freed_memory
from qa.runs.folder import RunFolder
from qa.runs.identity import identity
from qa.tracking.account import default_logger

log = logging.getLogger("qa")

register_resolvers(default_logger)
status = 0  # Hydra drops what `main` returns


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Runs a job; an error that the user can fix is reported in one line."""
    global status
    try:
        status = run(cfg)
    except Exception as error:
        if (line := explain_in_job(error)) is None:
            raise
        processes.report_error(f"ERROR: {line}")
        status = 2


def run(cfg: DictConfig) -> int:
    """Runs one job, here or in processes of its own; returns the exit status."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if RunStart.finished:
        show(cfg, folder)
        return 0
    if cfg.resume == "never" and not ranks.starts_over(cfg.resume):
        cfg.resume = "auto"
    composed = cfg.copy()
    settings = read_settings(cfg)
    if ranks.rank():
        mute_rank()
    check_values({"data": settings.data})
    data = check_sources(settings)
    ask_hub(settings)
    if (ended := run_ranks_here(cfg, settings)) is not None:
        return processes.requeue(ended)
    if settings.data.get("predictions_file"):
        return score(data, composed, folder)
    keep_freed_memory()
    with console.status("loading torch and lightning"):
        check_values(settings.model_dump(exclude={"data", "sweep"}))
        from qa.training.building import build_parts
        from qa.training.evaluate import evaluate
        from qa.training.fit import fit
        from qa.training.signals import Interrupted, interruptible

    quiet_libraries()  # after their import, which sets their levels
    parts = build_parts(cfg, composed, settings, folder)
    if not ranks.rank():
        take(folder, composed, start_over=settings.resume == "never")
    parts.record_inputs()
    try:
        with interruptible():
            (fit if settings.stage == "fit" else evaluate)(parts)
    except Interrupted as interruption:
        return processes.requeue(128 + interruption.signum)
    return 0


def show(cfg: DictConfig, folder: Path) -> None:
    """Shows the folder's finished run."""
    from qa.review.report import RunReport
    from qa.review.terminal import show_finished

    asked = any(override.startswith("logger") for override in HydraConfig.get().overrides.task)
    show_finished(RunReport.read(RunFolder(folder)), identity(resolved(cfg), folder), asked)


def score(data: SquadData, composed: DictConfig, folder: Path) -> int:
    """Scores another program's predictions, in one process."""
    from qa.evaluation.question_table import write_questions
    from qa.review.report import RunReport
    from qa.review.scores import score_predictions
    from qa.review.terminal import show_report

    if not ranks.rank():
        questions, results = score_predictions(data, identity(resolved(composed), folder))
        take(folder, composed, start_over=composed.resume == "never")
        data.write_lists(folder)
        write_questions(folder, questions)
        report = RunReport(RunFolder(folder), results, sorted(questions), {})
        show_report(report)
        report.write()
    return 0


def hydra_main() -> int:
    main()
    return status


if __name__ == "__main__":
    processes.leave_cores_to_others()
    if ranks.started_here():
        processes.watch_parent()
    processes.leave(exit_status(hydra_main))
