"""What each stage does with its parts, once they are built: fit, validate, test, predict."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer
from rich.text import Text

from qa import UserError
from qa.callbacks import Metrics
from qa.checkpoints import History
from qa.datamodule import Split, SquadDataModule
from qa.estimate import check_disk, disk_needed
from qa.loggers import MetricsFile
from qa.module import QuestionAnsweringModule
from qa.progress import console
from qa.report import (
    PerSplit,
    Results,
    Row,
    answered,
    markdown_table,
    read_answers,
    results_table,
    save_model,
    write_predictions,
    write_text,
)
from qa.runs import CONTENTS, check_same_run, load_checkpoint
from qa.settings import Settings


@dataclass
class Job:
    """One stage's parts, built and ready to go."""

    settings: Settings
    folder: Path
    command: str
    data: SquadDataModule
    module: QuestionAnsweringModule
    trainer: Trainer
    history: History
    metrics: Metrics
    checkpoint: Path | None
    splits: tuple[Split, ...]


def fit(job: Job) -> None:
    """Trains, keeps the best epoch, and writes the run folder; `results.json` last."""
    trainer, module, data, history = job.trainer, job.module, job.data, job.history
    steps = history.steps_per_epoch = data.steps_per_epoch = limited(data.batch_count(), trainer.limit_train_batches)
    max_steps = job.settings.trainer["max_steps"]
    ends = [end for end in (steps * (trainer.max_epochs or -1), max_steps) if end is not None and end >= 0]
    module.total_steps = min(ends)
    if module.total_steps == 0:
        raise UserError("trainer: no step to take; raise max_epochs, max_steps or limit_train_batches")
    first_screen(job)
    if data.name == "rajpurkar/squad" and data.limit is None and data.batch_size == 16:
        console.print(f"{steps} steps an epoch; the published run has 5555")
    go_on(job)
    if not history.ended and data.steps_done < module.total_steps:
        trainer.fit(module, datamodule=data, ckpt_path=job.checkpoint, weights_only=True)
    if history.best is None:
        raise UserError("no epoch came to its end; raise trainer.max_epochs or trainer.max_time")
    if not trainer.is_global_zero:
        return
    best = load_checkpoint(job.folder / "checkpoints" / "best.ckpt")["state_dict"]
    weights = {name.removeprefix("model."): weight for name, weight in best.items() if name.startswith("model.")}
    results = gather(job, history.rows, history.best)
    assert data.tokenizer is not None
    save_model(job.folder, module.model, weights, data.tokenizer, results, job.settings, job.command)
    finish(job, results)


def go_on(job: Job) -> None:
    """Takes over what the checkpoint knows, if there is one, and makes up for an evaluation that it came before."""
    nothing: dict[str, Any] = {"global_step": 0, "pending": False}
    checkpoint = load_checkpoint(job.checkpoint) if job.checkpoint else nothing
    step = job.data.steps_done = checkpoint["global_step"]
    for logger in job.trainer.loggers:
        if isinstance(logger, MetricsFile):
            logger.go_on(step, evaluated=not checkpoint["pending"])
    if job.checkpoint is None:
        return
    if not checkpoint["optimizer_states"]:
        raise UserError(f"{job.checkpoint}: without the optimizer's state, which nothing goes on from; take last.ckpt")
    check_same_run(job.checkpoint, checkpoint["run"], job.history.identity)
    job.history.goes_on_from(job.checkpoint, checkpoint, job.trainer.is_global_zero)
    console.print(f"resumed at step {step}")
    if checkpoint["pending"]:
        job.module.load_state_dict(checkpoint["state_dict"])
        job.module.on_load_checkpoint(checkpoint)
        job.trainer.validate(job.module, datamodule=job.data, verbose=False)
        job.history.evaluated(job.trainer, job.module, step)
        if job.history.best is job.history.rows[-1] and job.trainer.is_global_zero:
            job.history.second_name(job.checkpoint, job.folder / "checkpoints" / "best.ckpt")


def evaluate(job: Job) -> None:
    """Validates, tests or predicts with the given weights; writes results, predictions and n-best."""
    trainer, module, row = job.trainer, job.module, None
    if job.checkpoint:
        checkpoint = load_checkpoint(job.checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    first_screen(job)
    if job.settings.stage == "predict":
        trainer.predict(module, datamodule=job.data, return_predictions=False)
    else:
        stage = trainer.validate if job.settings.stage == "validate" else trainer.test
        stage(module, datamodule=job.data, verbose=False)
        row = Row(**module.figures)
        if job.checkpoint:
            row.epoch, row.step = checkpoint["epoch"] + 1, checkpoint["global_step"]
    if trainer.is_global_zero:
        write_predictions(job.folder, module.evaluation)
        finish(job, gather(job, [row] if row else [], row))


def limited(batches: int, limit: int | float | None) -> int:
    """Batches of an epoch under lightning's `limit_train_batches`: a count or a share."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def first_screen(job: Job) -> None:
    """What is about to happen: model, data, windows, steps, device, precision, output folder."""
    data, trainer, module = job.data, job.trainer, job.module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    head = "its trained span head is kept" if module.trained_head else "a new span head"
    rows = {"model": f"{module.pretrained}, {parameters / 1e6:.1f} M parameters, {head}"}
    for split in job.splits:
        rows[split] = (
            f"{data.source(split)}: {data.example_count(split):,} questions, {len(data.windows[split]):,} windows"
        )
    if job.settings.stage == "fit":
        padding = f"{data.padded_share():.1%} of the tokens padding"
        batches = f"batches of {data.batch_size} windows, {data.batching}, {padding}"
        rows["steps"] = f"{module.total_steps:,} in {trainer.max_epochs} epochs; {batches}"
        checkpoints = job.settings.checkpoint
        needed = disk_needed(parameters, checkpoints.keep, checkpoints.optimizer_state == "last")
        rows["disk"] = check_disk(job.folder, needed)
    ranks = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    rows["device"] = f"{ranks}{trainer.strategy.root_device.type}, precision {trainer.precision}"
    rows["output"] = str(job.folder)
    for name, what in rows.items():
        console.print(Text.assemble((f"{name:<12}", "bold"), what))


def gather(job: Job, rows: list[Row], best: Row | None) -> Results:
    """The content of `results.json`."""
    names: dict[str, Any] = {split: "train" if split == "train" else "validation" for split in job.splits}
    return Results(
        epochs=rows,
        best=best,
        windows=PerSplit(**{names[split]: len(job.data.windows[split]) for split in job.splits}),
        examples=PerSplit(**{names[split]: job.data.example_count(split) for split in job.splits}),
        windows_per_second=PerSplit(**job.metrics.per_second()),
        devices=job.trainer.world_size,
        padded_share=job.data.padded_share() if "train" in job.splits else None,
        skipped={split: dict(job.data.skipped[split]) for split in job.splits},
        nonfinite_steps=job.module.nonfinite_steps,
    )


def finish(job: Job, results: Results) -> None:
    """Writes the table and, last of all, `results.json`; shows some answers and where to look next."""
    if job.settings.stage != "fit" and results.best:
        console.print(results_table(results.epochs, results.best))
    write_text(job.folder / "results.md", markdown_table(results.epochs) + "\n")
    write_text(job.folder / "results.json", results.model_dump_json(indent=1))
    for logger in job.trainer.loggers:
        logger.finalize("success")
    if "wandb" in sys.modules and (live := sys.modules["wandb"].run):
        live.finish()
    answers = read_answers(job.folder)
    examples = [example for example in job.data.examples[job.splits[-1]] if example.id in answers]
    for example in examples[:: max(1, len(examples) // 5)][:5]:
        console.print(answered(example, answers[example.id]))
    console.print(f"\n{job.folder}")
    for name, what in CONTENTS.items():
        if (job.folder / name).exists():
            console.print(f"  {name:<17} {what}")
