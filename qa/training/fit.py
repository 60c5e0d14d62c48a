"""`stage=fit`: trains, or resumes, and writes the run's model and results."""

import numpy as np

from qa.console import console
from qa.data.reading.overlap import context_hashes, trained_contexts
from qa.errors import UserError
from qa.evaluation.question_table import read_questions
from qa.model.answering import Answering
from qa.model.pretrained import save_model
from qa.review.card import model_card, training_data
from qa.runs.checkpoints import check_same_run, load_checkpoint
from qa.runs.predictions import WrittenAnswers, calibrate_predictions
from qa.runs.weights import chosen_on, trained
from qa.tracking.metrics_file import MetricsFile
from qa.training.collectives import disconnect
from qa.training.finish import begin_dashboard, finish, run_report
from qa.training.parts import Parts
from qa.training.screen import first_screen


def fit(parts: Parts) -> None:
    """Trains, keeps the best epoch, and writes the run folder; `results.json` last."""
    trainer, module, data, history = parts.trainer, parts.module, parts.data, parts.history
    first_screen(parts)
    step = resume(parts)
    begin_dashboard(parts)
    if not history.ended and step < module.total_steps:
        trainer.fit(module, datamodule=data, ckpt_path=parts.checkpoint, weights_only=True)
    if history.best is None:
        if history.rows and history.rows[-1].val_loss is not None:
            raise UserError(
                f"no evaluation had a finite {history.monitor}; lower optimizer.lr, or use trainer.precision=32-true"
            )
        raise UserError("no epoch came to its end; raise trainer.max_epochs or trainer.max_time")
    disconnect()
    if not trainer.is_global_zero:
        return
    best = load_checkpoint(parts.run.best)["state_dict"]
    weights = {name.removeprefix("model."): weight for name, weight in best.items() if name.startswith("model.")}
    # an earlier version's checkpoint has none
    calibration = history.calibration or calibrate_predictions(parts.run.path)
    questions, answers = read_questions(parts.run.path), WrittenAnswers(parts.run.candidates)
    report = run_report(parts, history.rows, history.best, questions, answers, calibration)
    results, several = report.results, len(history.rows) > 1
    card = model_card(results, parts.settings, parts.command)
    answering = Answering(
        no_answer_threshold=history.best.threshold,
        max_length=data.max_length,
        stride=data.stride,
        max_answer_length=module.max_answer_length,
        n_best=module.n_best,
        **(results.calibration.fitted if results.calibration else {}),
        chosen_on=chosen_on(results.identity, epoch=several, threshold=history.best.is_v2, temperature=True),
        trained={
            **trained(results.identity, history.best.epoch, history.best.step, history.schedule_changes),
            "questions": results.examples.train,
            "data": training_data(parts.settings),
        },
    )
    contexts = np.union1d(trained_contexts(module.pretrained), context_hashes(data.splits["train"].examples))
    save_model(parts.run.model, module.model, weights, data.tokenizer, card, answering, contexts)
    finish(parts, report)


def resume(parts: Parts) -> int:
    """Takes over the checkpoint, if there is one, and makes up for a pending evaluation; returns the steps done."""
    checkpoint = load_checkpoint(parts.checkpoint) if parts.checkpoint else None
    step, pending = (checkpoint["global_step"], checkpoint["pending"]) if checkpoint else (0, False)
    for logger in parts.trainer.loggers:
        if isinstance(logger, MetricsFile):
            logger.forget_after(step, evaluated=not pending)
    if checkpoint is None or parts.checkpoint is None:
        return 0
    if not checkpoint["optimizer_states"]:
        raise UserError(f"{parts.checkpoint}: without the optimizer's state, no run resumes from it; take last.ckpt")
    history, module, trainer = parts.history, parts.module, parts.trainer
    check_same_run(parts.checkpoint, checkpoint, history.identity, parts.run.path)
    parts.data.resume(step, history.steps_per_epoch)
    history.resume_from(parts.checkpoint, checkpoint, trainer.is_global_zero)
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
            history.files.give_name(parts.checkpoint, parts.run.best)
    return step
