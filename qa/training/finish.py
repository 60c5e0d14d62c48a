"""The end of a run: its results, its page, and the last lines in the terminal."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from qa import processes
from qa.console import console
from qa.evaluation.answers import NBestAnswer, Question
from qa.evaluation.languages import language_figures
from qa.hub import push
from qa.review.card import model_name
from qa.review.report import RunReport
from qa.review.run_page import try_page
from qa.review.terminal import question_in_context, show_paths, show_report
from qa.runs.results import PerSplit, Results, Row
from qa.statistics.calibration import Calibrated
from qa.tracking.loggers import Wandb
from qa.training.parts import Parts, evaluated_part
from qa.training.screen import hardware


def begin_dashboard(parts: Parts) -> None:
    """Begins or resumes the W&B run, once this run is known to be the same, and before its first step is timed."""
    for logger in parts.trainer.loggers:
        if isinstance(logger, Wandb):
            logger.begin()


def run_report(
    parts: Parts,
    rows: list[Row],
    best: Row | None,
    questions: Sequence[Question],
    answers: Mapping[str, Sequence[NBestAnswer]],
    calibration: Calibrated | None,
) -> RunReport:
    """The report of a run that is at its end; `questions`, by id, `answers` and `calibration`: of the best row."""
    kept, data = parts.module.no_answer_threshold, parts.data
    threshold = kept if parts.settings.stage == "predict" else (kept or 0.0) if best and best.is_v2 else None
    names: dict[str, Any] = {split: "train" if split == "train" else "validation" for split in parts.splits}
    windows = {names[s]: data.epoch_size() if s == "train" else len(data.splits[s].windows) for s in parts.splits}
    device = hardware(parts.trainer.strategy.root_device)
    results = Results(
        epochs=rows,
        best=best,
        windows=PerSplit(**windows),
        examples=PerSplit(**{names[s]: data.splits[s].example_count() for s in parts.splits}),
        windows_per_second=PerSplit(**parts.metrics.per_second()),
        devices=parts.trainer.world_size,
        padded_share=data.padded_share() if "train" in parts.splits else None,
        hardware=device,
        trained_head=parts.module.trained_head,
        seconds=sum(parts.metrics.seconds.values()),
        fingerprints={name: split.fingerprint for name, split in data.splits.items()},
        skipped={name: dict(split.skipped) for name, split in data.splits.items()},
        repaired={name: dict(split.repaired) for name, split in data.splits.items()},
        ceiling={str(split): highest for split, highest in parts.ceiling.items()},
        nonfinite_steps=parts.module.nonfinite_steps,
        evaluated=evaluated_part(data, parts.splits[-1]),
        by_language=language_figures(questions) if best else {},
        overlap=data.shared,
        no_answer_threshold=threshold,
        calibration=calibration,
        identity=parts.history.final_identity(),
        schedule_changes=parts.history.schedule_changes,
        about={
            "model": model_name(parts.module.pretrained),
            **{str(split): data.sources.in_words(split) for split in parts.splits},
            **({"epoch": epoch} if "train" in parts.splits and (epoch := data.epoch_in_words()) else {}),
            "command": parts.command,
            "finished": f"{datetime.now():%F %H:%M}, on {parts.trainer.world_size} x {device}",
            "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "transformers")),
        },
    )
    return RunReport(parts.run, results, questions, answers)


def finish(parts: Parts, report: RunReport) -> None:
    """Shows the report and writes it: `results.json`, which finishes the run, then its page; W&B gets the end."""
    show_report(report)
    if parts.settings.push_to_hub and parts.settings.stage == "fit":
        address, private = push(report.run.model, parts.settings.push_to_hub)
        who = "private until you make it public" if private else "public: everybody sees it"
        console.print(f"the model is at {address}, {who}")
    report.write()
    try_page(report)
    if processes.SWEEP not in os.environ:  # where readers look at the sweep's own table
        show_examples(parts, report)
    show_paths(report.run)
    for logger in parts.trainer.loggers:
        if isinstance(logger, Wandb):
            logger.log_end(report, parts.settings.seed)


def show_examples(parts: Parts, report: RunReport) -> None:
    """Shows five questions from all over the evaluation, with their answers."""
    examples = parts.data.splits[parts.splits[-1]].evaluated_examples()
    names = [example.id for example in examples[:: max(1, len(examples) // 5)][:5]]
    questions = {question.id: question for question in report.questions if question.id in names}
    for name in names:
        console.print(question_in_context(questions[name]))
