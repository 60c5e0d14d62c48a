"""The end of a run: its results, its page, and what the terminal shows last."""

import os
from collections import Counter
from datetime import datetime
from importlib.metadata import version
from typing import Any

from qa import processes
from qa.console import console
from qa.data.datamodule import SquadDataModule
from qa.data.sources import Split
from qa.evaluation.languages import language_figures
from qa.evaluation.question_table import read_questions
from qa.hub import push
from qa.review.card import model_name
from qa.review.run_page import try_page
from qa.review.terminal import question_in_context, results_table, show_end, show_next
from qa.review.verdict import remarks
from qa.runs.results import PerSplit, Results, Row
from qa.runs.results_table import markdown_language_table, markdown_table
from qa.storage import write_text
from qa.tracking.loggers import Wandb
from qa.training.parts import Parts, evaluated_part
from qa.training.screen import hardware


def begin_dashboard(parts: Parts) -> None:
    """Begins or resumes the W&B run, once this run is known to be the same, and before its first step is timed."""
    for logger in parts.trainer.loggers:
        if isinstance(logger, Wandb):
            logger.begin()


def collect_results(parts: Parts, rows: list[Row], best: Row | None) -> Results:
    """The content of `results.json`."""
    given = parts.module.no_answer_threshold
    threshold = given if parts.settings.stage == "predict" else (given or 0.0) if best and best.is_v2 else None
    names: dict[str, Any] = {split: "train" if split == "train" else "validation" for split in parts.splits}
    return Results(
        epochs=rows,
        best=best,
        windows=PerSplit(**{names[split]: window_count(parts.data, split) for split in parts.splits}),
        examples=PerSplit(**{names[split]: parts.data.example_count(split) for split in parts.splits}),
        windows_per_second=PerSplit(**parts.metrics.per_second()),
        devices=parts.trainer.world_size,
        padded_share=parts.data.padded_share() if "train" in parts.splits else None,
        hardware=hardware(parts.trainer.strategy.root_device),
        trained_head=parts.module.trained_head,
        seconds=sum(parts.metrics.seconds.values()),
        fingerprints=parts.data.fingerprints,
        skipped={s: dict(Counter(bad.kind for bad in parts.data.bad[s])) for s in parts.splits},
        repaired={s: dict(Counter(row["kind"] for row in parts.data.repairs[s])) for s in parts.splits},
        ceiling={str(split): best for split, best in parts.ceiling.items()},
        nonfinite_steps=parts.module.nonfinite_steps,
        evaluated=evaluated_part(parts.data, parts.splits[-1]),
        by_language=language_figures(read_questions(parts.run.path)) if best else {},
        overlap=parts.data.overlap,
        no_answer_threshold=threshold,
        identity=parts.history.final_identity(),
        schedule_changes=parts.history.schedule_changes,
    )


def window_count(data: SquadDataModule, split: Split) -> int:
    """Windows of a training epoch, or of an evaluation's whole split."""
    return data.epoch_size() if split == "train" else len(data.windows[split])


def about(parts: Parts, results: Results) -> dict[str, str]:
    """The head of a run's page."""
    return {
        "model": model_name(parts.module.pretrained),
        **{str(split): parts.data.sources.in_words(split) for split in parts.splits},
        **({"epoch": epoch} if "train" in parts.splits and (epoch := parts.data.epoch_in_words()) else {}),
        "command": parts.command,
        "finished": f"{datetime.now():%F %H:%M}, on {parts.trainer.world_size} x {results.hardware}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "transformers")),
    }


def show_answers(parts: Parts) -> None:
    """Five questions of the evaluation, from all over it, with what was answered."""
    examples = parts.data.evaluated_examples(parts.splits[-1])
    few = {example.id for example in examples[:: max(1, len(examples) // 5)][:5]}
    questions = {question.id: question for question in read_questions(parts.run.path) if question.id in few}
    for name in (example.id for example in examples if example.id in few):
        console.print(question_in_context(questions[name]))


def finish(parts: Parts, results: Results) -> None:
    """Writes the table, `results.json` and, once the run is finished by that, its page; shows some answers."""
    results.about = about(parts, results)
    if results.best:
        console.print(results_table(results.epochs, results.best, results.evaluated, results.monitor))
    show_end(parts.run.path, results)
    if results.epochs:
        tables = [markdown_table(results.epochs, results.evaluated), markdown_language_table(results)]
        lines = [*tables, results.chosen(parts.run.path), *remarks(results)]
        write_text(parts.run.table, "\n\n".join(filter(None, lines)) + "\n")
    if parts.settings.push_to_hub and parts.settings.stage == "fit":
        address, private = push(parts.run.model, parts.settings.push_to_hub)
        who = "private until you make it public" if private else "public: everybody sees it"
        console.print(f"the model is at {address}, {who}")
    write_text(parts.run.results, results.model_dump_json(indent=1))
    try_page(parts.run.path, results)
    if processes.SWEEP not in os.environ:  # where the sweep's own table is what is read
        show_answers(parts)
    show_next(parts.run.path)
    for logger in parts.trainer.loggers:
        if isinstance(logger, Wandb):
            logger.log_end(results, parts.settings.seed)
