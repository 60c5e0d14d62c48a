"""`stage=validate|test|predict`."""

import logging

from qa.evaluation.confidence import calibrated
from qa.model.answering import Answering
from qa.runs.checkpoints import load_checkpoint
from qa.runs.predictions import write_predictions
from qa.runs.results import Row
from qa.training.collectives import disconnect
from qa.training.finish import begin_dashboard, collect_results, finish
from qa.training.parts import Parts
from qa.training.screen import first_screen

log = logging.getLogger(__name__)


def evaluate(parts: Parts) -> None:
    """Validates, tests or predicts with the given weights; writes results, predictions and n-best."""
    trainer, module, row = parts.trainer, parts.module, None
    if parts.checkpoint:
        checkpoint = load_checkpoint(parts.checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    elif not module.trained_head:
        log.warning(
            "model.pretrained=%s: has no trained span head, so that its answers are as good as drawn; give RUN/model,"
            " or resume=RUN/checkpoints/best.ckpt",
            module.pretrained,
        )
    model = str(parts.checkpoint.resolve().parent.parent / "model") if parts.checkpoint else module.pretrained
    known = Answering.load(model)  # of a checkpoint that of its run, if that came to its end
    first_screen(parts)
    begin_dashboard(parts)
    if parts.settings.stage == "predict":
        trainer.predict(module, datamodule=parts.data, return_predictions=False)
    else:
        stage = trainer.validate if parts.settings.stage == "validate" else trainer.test
        stage(module, datamodule=parts.data, verbose=False)
        row = Row(**module.figures)
        if parts.checkpoint:
            row.epoch, row.step = checkpoint["epoch"] + 1, checkpoint["global_step"]
    disconnect()
    if trainer.is_global_zero:
        assert module.evaluation is not None
        found, answers = module.evaluation, module.evaluation.answers
        questions, trust = calibrated(((q, answers[q.id]) for q in found.questions), known.temperatures)
        write_predictions(parts.folder, found._replace(questions=questions))
        module.evaluation = None  # large, and on the disk
        results = collect_results(parts, [row] if row else [], row)
        results.calibration = trust
        finish(parts, results)
