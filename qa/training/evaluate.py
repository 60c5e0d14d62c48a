"""`stage=validate|test|predict`."""

import logging

from qa.runs.checkpoints import load_checkpoint
from qa.runs.identity import is_trained_on
from qa.runs.predictions import write_predictions
from qa.runs.results import TRAINED_ON, Row
from qa.statistics.calibration import calibrate_evaluation
from qa.training.collectives import disconnect
from qa.training.finish import begin_dashboard, finish, run_report
from qa.training.parts import Parts
from qa.training.screen import first_screen

log = logging.getLogger(__name__)


def evaluate(parts: Parts) -> None:
    """Validates, tests or predicts with the given weights; writes results, predictions and n-best."""
    trainer, module, row = parts.trainer, parts.module, None
    if parts.checkpoint:
        module.load_state_dict(load_checkpoint(parts.checkpoint)["state_dict"])
    elif not module.trained_head:
        log.warning(
            "model.pretrained=%s: has no trained span head, so that its answers are as good as drawn; give RUN/model,"
            " or resume=RUN/checkpoints/best.ckpt",
            module.pretrained,
        )
    if is_trained_on(parts.history.identity, parts.splits[-1], parts.answering.trained or {}):
        log.warning("%s: %s", parts.splits[-1], TRAINED_ON)
    first_screen(parts)
    begin_dashboard(parts)
    if parts.settings.stage == "predict":
        trainer.predict(module, datamodule=parts.data, return_predictions=False)
    else:
        stage = trainer.validate if parts.settings.stage == "validate" else trainer.test
        stage(module, datamodule=parts.data, verbose=False)
        trained = parts.answering.trained or {}
        row = Row(epoch=trained.get("epoch"), step=trained.get("step"), **module.figures)
    disconnect()
    if trainer.is_global_zero:
        assert module.evaluation is not None
        evaluation, calibration = calibrate_evaluation(module.evaluation, parts.answering.scales)
        write_predictions(parts.run.path, evaluation)
        questions, answers = evaluation.questions, evaluation.answers
        finish(parts, run_report(parts, [row] if row else [], row, questions, answers, calibration))
