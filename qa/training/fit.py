"""`stage=fit`: trains, or resumes, and writes the run's model and results."""

from datetime import UTC, datetime

import numpy as np

from qa.console import console
from qa.data.reading.overlap import context_hashes, trained_contexts
from qa.errors import UserError
from qa.evaluation.question_table import read_questions
from qa.hub import push
from qa.model.pretrained import save_model
from qa.review.card import model_card, training_data
from qa.review.first_screen import show_plan
from qa.runs.checkpoints import load_checkpoint
from qa.runs.predictions import WrittenAnswers
from qa.runs.results import Results
from qa.runs.weights import answering_of
from qa.tracking.metrics_file import MetricsFile
from qa.training.collectives import disconnect
from qa.training.parts import Parts


def fit(parts: Parts) -> None:
    """Trains, keeps the best epoch, and writes the run folder; `results.json` last."""
    trainer, module, history = parts.trainer, parts.module, parts.history
    show_plan(parts.plan)
    step = resume(parts)
    if not history.ended and step < module.total_steps:
        trainer.fit(module, datamodule=parts.data, ckpt_path=parts.checkpoint, weights_only=True)
    if history.best is None:
        if history.rows and history.rows[-1].val_loss is not None:
            raise UserError(
                f"no evaluation had a finite {history.monitor}; lower optimizer.lr, or use trainer.precision=32-true"
            )
        raise UserError("no epoch came to its end; raise trainer.max_epochs or trainer.max_time")
    disconnect()
    if trainer.is_global_zero:
        answers, questions = WrittenAnswers(parts.run.candidates), read_questions(parts.run.path)  # of the best epoch
        report = parts.report(history.rows, history.best, history.calibration, answers, questions)
        save_best(parts, report.results)
        parts.finish(report)


def resume(parts: Parts) -> int:
    """Takes over the checkpoint, if there is one, and makes up for a pending evaluation; returns the steps done."""
    path, history, module, trainer = parts.checkpoint, parts.history, parts.module, parts.trainer
    checkpoint = load_checkpoint(path) if path else None
    step, pending = (checkpoint["global_step"], checkpoint["pending"]) if checkpoint else (0, False)
    if checkpoint and not checkpoint["optimizer_states"]:
        raise UserError(f"{path}: without the optimizer's state, no run resumes from it; take last.ckpt")
    for logger in trainer.loggers:
        if isinstance(logger, MetricsFile):
            logger.forget_after(step, evaluated=not pending)
    if path is None or checkpoint is None:
        return 0
    parts.data.resume(step, history.steps_per_epoch)
    history.resume_from(path, checkpoint, trainer.is_global_zero)
    parts.metrics.load_state_dict(checkpoint["callbacks"][parts.metrics.state_key])
    console.print(f"resumed at step {step}")
    if (before := checkpoint["total_steps"]) != (now := module.total_steps):
        history.schedule_changes.append({"step": step, "total_steps_before": before, "total_steps": now})
        console.print(f"schedule changed at step {step}: {now} steps in all, {before} before")
    if pending:
        module.load_state_dict(checkpoint["state_dict"])
        module.on_load_checkpoint(checkpoint)
        trainer.validate(module, datamodule=parts.data, verbose=False)
        history.add_evaluation(trainer, module, step)
        if history.best is history.rows[-1] and trainer.is_global_zero:
            history.files.give_name(path, parts.run.best)
    return step


def save_best(parts: Parts, results: Results) -> None:
    """Writes `model/`, the weights of the best epoch with all that others need, and publishes it if asked to."""
    settings, module, data, best = parts.settings, parts.module, parts.data, results.best
    assert best is not None
    source, card = training_data(settings), model_card(results, settings, parts.command)
    state = load_checkpoint(parts.run.best)["state_dict"]
    weights = {name.removeprefix("model."): weight for name, weight in state.items() if name.startswith("model.")}
    chosen = {"epoch": len(results.epochs) > 1, "threshold": best.is_v2, "temperature": True}
    answering = answering_of(results.identity, best, results.schedule_changes, **chosen)
    today = datetime.now(UTC).date().isoformat()
    trained = {**(answering.trained or {}), "questions": results.examples.train, "data": source, "date": today}
    fitted = results.calibration.fitted if results.calibration else {}
    answering = answering.model_copy(update={**fitted, "trained": trained})
    contexts = np.union1d(trained_contexts(module.pretrained), context_hashes(data.splits["train"].examples))
    save_model(parts.run.model, module.model, weights, data.tokenizer, card, answering, contexts)
    if settings.push_to_hub:
        address, private = push(parts.run.model, settings.push_to_hub)
        who = "private until you make it public" if private else "public: everybody sees it"
        console.print(f"the model is at {address}, {who}")
