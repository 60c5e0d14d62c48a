"""What each stage does with its parts, once they are built: fit, validate, test, predict."""

import logging
import platform
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from lightning import Trainer
from rich.text import Text

from qa import UserError
from qa.callbacks import Metrics
from qa.checkpoints import History
from qa.collectives import disconnect
from qa.datamodule import Split, SquadDataModule
from qa.estimate import check_disk, disk_needed
from qa.hub import push
from qa.loggers import MetricsFile, Wandb
from qa.module import QuestionAnsweringModule
from qa.page import try_page
from qa.progress import console
from qa.questions import Evaluation, Question, scored, write_questions
from qa.report import (
    EvaluatedPart,
    PerSplit,
    Results,
    Row,
    answered,
    markdown_table,
    read_answers,
    read_predictions,
    results_table,
    save_model,
    write_predictions,
    write_text,
)
from qa.runs import CONTENTS, check_same_run, load_checkpoint
from qa.settings import Settings

log = logging.getLogger(__name__)


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
    begin_dashboard(job)
    if not history.ended and data.steps_done < module.total_steps:
        trainer.fit(module, datamodule=data, ckpt_path=job.checkpoint, weights_only=True)
    if history.best is None:
        if history.rows and history.rows[-1].val_loss is not None:
            raise UserError(
                f"no evaluation had a finite {history.monitor}; lower optimizer.lr, or use trainer.precision=32-true"
            )
        raise UserError("no epoch came to its end; raise trainer.max_epochs or trainer.max_time")
    disconnect()
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
    check_same_run(job.checkpoint, checkpoint, job.history.identity, job.folder)
    job.history.goes_on_from(job.checkpoint, checkpoint, job.trainer.is_global_zero)
    job.metrics.load_state_dict(checkpoint["callbacks"]["Metrics"])
    console.print(f"resumed at step {step}")
    if (before := checkpoint["total_steps"]) != (now := job.module.total_steps):
        job.history.schedule_changes.append({"step": step, "total_steps_before": before, "total_steps": now})
        console.print(f"schedule changed at step {step}: {now} steps in all, {before} before")
    if checkpoint["pending"]:
        job.module.load_state_dict(checkpoint["state_dict"])
        job.module.on_load_checkpoint(checkpoint)
        job.trainer.validate(job.module, datamodule=job.data, verbose=False)
        job.history.evaluated(job.trainer, job.module, step)
        if job.history.best is job.history.rows[-1] and job.trainer.is_global_zero:
            job.history.second_name(job.checkpoint, job.folder / "checkpoints" / "best.ckpt")


def begin_dashboard(job: Job) -> None:
    """Once a run that goes on is known to be the same; before its first step, whose time is measured."""
    for logger in job.trainer.loggers:
        if isinstance(logger, Wandb):
            logger.begin()


def evaluate(job: Job) -> None:
    """Validates, tests or predicts with the given weights; writes results, predictions and n-best."""
    trainer, module, row = job.trainer, job.module, None
    if job.checkpoint:
        checkpoint = load_checkpoint(job.checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    elif not module.trained_head:
        log.warning(
            "model.pretrained=%s: has no trained span head, so that its answers are as good as drawn; give RUN/model,"
            " or resume=RUN/checkpoints/best.ckpt",
            module.pretrained,
        )
    first_screen(job)
    begin_dashboard(job)
    if job.settings.stage == "predict":
        trainer.predict(module, datamodule=job.data, return_predictions=False)
    else:
        stage = trainer.validate if job.settings.stage == "validate" else trainer.test
        stage(module, datamodule=job.data, verbose=False)
        row = Row(**module.figures)
        if job.checkpoint:
            row.epoch, row.step = checkpoint["epoch"] + 1, checkpoint["global_step"]
    disconnect()
    if trainer.is_global_zero:
        write_predictions(job.folder, module.evaluation)
        module.evaluation = Evaluation({}, {}, {})  # large, and on the disk
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
        if split != "train" and (note := evaluated_part(data, split).note()):
            rows[split] += f"; {note[0].lower()}{note[1:].rstrip('.')}"
    if job.settings.stage == "fit":
        padding = f"{data.padded_share():.1%} of the tokens padding"
        batches = f"batches of {data.batch_size} windows, {data.batching}, {padding}"
        rows["steps"] = f"{module.total_steps:,} in {trainer.max_epochs} epochs; {batches}"
        checkpoints = job.settings.checkpoint
        needed = disk_needed(parameters, checkpoints.keep, checkpoints.optimizer_state == "last")
        rows["disk"] = check_disk(job.folder, needed)
    ranks = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    rows["device"] = f"{ranks}{arithmetic(trainer.strategy.root_device, trainer.precision, job.settings)}"
    rows["output"] = str(job.folder)
    for logger in trainer.loggers:
        if isinstance(logger, Wandb):
            rows["W&B"] = logger.sends()
    for name, what in rows.items():
        console.print(Text.assemble((f"{name:<12}", "bold"), what))


def arithmetic(device: torch.device, precision: str, settings: Settings) -> str:
    """A device and the arithmetic it does, for people; on a GPU what would be faster."""
    text = f"{device.type}, precision {precision}"
    if device.type == "cuda" and precision == "32-true":
        text += f", matmul_precision {settings.matmul_precision}; trainer.precision=bf16-mixed is faster"
    return text


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
        hardware=hardware(job.trainer.strategy.root_device),
        seconds=sum(job.metrics.seconds.values()),
        fingerprints=job.data.fingerprints,
        skipped={split: dict(job.data.skipped[split]) for split in job.splits},
        nonfinite_steps=job.module.nonfinite_steps,
        evaluated=evaluated_part(job.data, job.splits[-1]),
        overlap=job.data.overlap,
        identity=job.history.made(),
        schedule_changes=job.history.schedule_changes,
    )


def evaluated_part(data: SquadDataModule, split: Split) -> EvaluatedPart:
    """How many of a split's questions are evaluated."""
    return EvaluatedPart(questions=len(data.evaluated_examples(split)), of=data.example_count(split))


def hardware(device: torch.device) -> str:
    """What a device is, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"


def score(data: SquadDataModule, identity: dict[str, Any]) -> tuple[list[Question], Results]:
    """Scores the predictions of any program in the format of the official script; no model is needed.

    A question without a prediction counts as wrong, as there, and is counted. Errors: UserError for predictions of
    questions that there are not, or for a file that cannot be read.
    """
    path = Path(data.predictions_file or "")
    predictions = read_predictions(path)
    examples, skipped = data.read("validation")
    if unknown := sorted(predictions.keys() - {example.id for example in examples}):
        raise UserError(
            f"{path}: {len(unknown)} ids that {data.source('validation')} does not have, such as {unknown[0]!r};"
            " give the file that was predicted"
        )
    if missing := sum(example.id not in predictions for example in examples):
        log.warning("%s: %d questions have no prediction, and count as wrong", path, missing)
        skipped["no prediction"] = missing
    questions = [scored(example, None, predictions.get(example.id, "")) for example in examples]
    exact, overlap = (100 * fmean(getattr(q, name) for q in questions) for name in ("exact_match", "f1"))
    row, empty = Row(exact_match=exact, f1=overlap), PerSplit()
    counts = PerSplit(validation=len(questions))
    return questions, Results(
        epochs=[row], best=row, windows=empty, examples=counts, windows_per_second=empty, devices=0,
        skipped={"validation": dict(skipped)}, evaluated=EvaluatedPart(questions=len(questions), of=len(questions)),
        identity=identity,
    )  # fmt: skip


def write_scores(folder: Path, questions: list[Question], results: Results) -> None:
    """Writes what `score` found, `results.json` last, and shows it."""
    write_questions(folder, questions)
    write_text(folder / "results.md", markdown_table(results.epochs) + "\n")
    write_text(folder / "results.json", results.model_dump_json(indent=1))
    console.print(results_table(results.epochs, results.best))


def about(job: Job, results: Results) -> dict[str, str]:
    """What the head of a run's page says of it."""
    return {
        "model": job.module.pretrained,
        **{str(split): job.data.source(split) for split in job.splits},
        "command": job.command,
        "finished": f"{datetime.now():%F %H:%M}, on {job.trainer.world_size} x {results.hardware}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "transformers")),
    }


def finish(job: Job, results: Results) -> None:
    """Writes the table, `results.json` and, once the run is finished by that, its page; shows some answers."""
    results.about = about(job, results)
    if job.settings.stage != "fit" and results.best:
        console.print(results_table(results.epochs, results.best, results.evaluated))
    if results.chosen:
        console.print(results.chosen)
    table = markdown_table(results.epochs, results.evaluated)
    write_text(job.folder / "results.md", "\n\n".join(filter(None, (table, results.chosen))) + "\n")
    if job.settings.push_to_hub and job.settings.stage == "fit":
        address, private = push(job.folder / "model", job.settings.push_to_hub)
        who = "only you see until you make it public" if private else "everybody sees: the repository is public"
        console.print(f"the model is at {address}, which {who}")
    write_text(job.folder / "results.json", results.model_dump_json(indent=1))
    try_page(job.folder, results)
    examples = job.data.evaluated_examples(job.splits[-1])
    few = examples[:: max(1, len(examples) // 5)][:5]
    answers = read_answers(job.folder, {example.id for example in few})
    for example in few:
        console.print(answered(example, answers[example.id]))
    console.print(f"\n{job.folder}")
    for name, what in CONTENTS.items():
        if (job.folder / name).exists():
            console.print(f"  {name:<17} {what}")
    for logger in job.trainer.loggers:
        if isinstance(logger, Wandb):
            logger.log_end(results, job.settings.seed)
