"""`stage=validate|test|predict`."""

import logging

from qa.review.first_screen import show_plan
from qa.runs.checkpoints import load_checkpoint
from qa.runs.identity import is_trained_on
from qa.runs.predictions import write_predictions
from qa.runs.results import TRAINED_ON, Row
from qa.statistics.calibration import calibrate_evaluation
from qa.training.collectives import disconnect
from qa.training.parts import Parts

log = logging.getLogger(__name__)


def evaluate(parts: Parts) -> None:
    """Validates, tests or predicts with the given weights; writes results, predictions and n-best."""
    trainer, module, row = parts.trainer, parts.module, None
    trained = parts.answering.trained or {}
    if parts.checkpoint:
        module.load_state_dict(load_checkpoint(parts.checkpoint)["state_dict"])
    elif not module.trained_head:
        log.warning(
            "model.pretrained=%s: has no trained span head, so its answers are random; give RUN/model,"
            " or resume=RUN/checkpoints/best.ckpt",
            module.pretrained,
        )
    if is_trained_on(parts.history.identity, parts.splits[-1], trained):
        log.warning("%s: %s", parts.splits[-1], TRAINED_ON)
    show_plan(parts.plan)
    if parts.settings.stage == "predict":
        trainer.predict(module, datamodule=parts.data, return_predictions=False)
    else:
        stage = trainer.validate if parts.settings.stage == "validate" else trainer.test
        stage(module, datamodule=parts.data, verbose=False)
        row = Row(epoch=trained.get("epoch"), step=trained.get("step"), **module.figures)
    disconnect()
    if module.evaluation:  # of all ranks, on the first one
        evaluation, calibration = calibrate_evaluation(module.evaluation, parts.answering.scales)
        write_predictions(parts.run.path, evaluation)
        report = parts.report([row] if row else [], row, calibration, evaluation.answers, evaluation.questions)
        parts.finish(report)
