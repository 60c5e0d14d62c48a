"""`EvaluationSteps`: a module's evaluation, gathered from all ranks, and its scores."""

from typing import Any

from lightning import LightningModule
from torch import Tensor

from qa.data.epochs.batches import Batch, EvaluationBatch
from qa.evaluation.answers import Evaluation
from qa.evaluation.collect import EvaluatedBatch, collect, evaluate_batch
from qa.model.loss import span_loss
from qa.training.collectives import gather_to_rank_0


class EvaluationSteps(LightningModule):
    """A module with a `forward` for start and end logits. After an evaluation `evaluation` holds its result."""

    def __init__(self, n_best: int, max_answer_length: int, no_answer_threshold: float | None) -> None:
        super().__init__()
        self.n_best, self.max_answer_length = n_best, max_answer_length
        self.no_answer_threshold = no_answer_threshold
        self.figures: dict[str, float] = {}  # of the last evaluation, over all ranks
        self.evaluation: Evaluation | None = None  # the last one, on rank 0
        self.evaluated_windows = 0  # of the last evaluation, over all ranks; known to rank 0
        self._evaluated: list[EvaluatedBatch] = []

    def losses(self, logits: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """`span_loss` of every window of a batch, float32 [batch]."""
        return span_loss(*logits, batch["start_positions"], batch["end_positions"], batch["attention_mask"])

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        logits = self(batch)
        self._collect(logits, batch, self.losses(logits, batch))

    def _collect(self, logits: tuple[Tensor, Tensor], batch: EvaluationBatch, losses: Tensor | None = None) -> None:
        self._evaluated.append(evaluate_batch(logits, batch, losses, self.n_best, self.max_answer_length))

    def _decode(self) -> Evaluation | None:
        """Puts the ranks' parts together into `evaluation`, on rank 0, which has all examples."""
        parts, self._evaluated = gather_to_rank_0(self._evaluated), []
        self.evaluation, self.evaluated_windows = None, 0
        if self.trainer.is_global_zero:
            self.evaluated_windows = len({row for part in parts for row in part.rows.tolist()})
            trainer = self.trainer
            loaders = {trainer.predicting: trainer.predict_dataloaders, trainer.testing: trainer.test_dataloaders}
            loader: Any = loaders.get(True, trainer.val_dataloaders)
            examples = {example.id: example for example in loader.dataset.examples}
            threshold = self.no_answer_threshold
            if not trainer.predicting:  # a file of questions alone does not say which have no answer
                v2 = any(examples[name].is_impossible for part in parts for name in part.ids)
                threshold = (threshold or 0.0) if v2 else None
            self.evaluation = collect(parts, examples, self.n_best, threshold)
        return self.evaluation

    def on_validation_epoch_end(self) -> None:
        """Decodes and scores on rank 0; every rank gets to know the figures."""
        evaluation = self._decode()
        self.figures = self.trainer.strategy.broadcast(evaluation.figures() if evaluation else {})
        # for callbacks that watch them; the loggers get them from the history, with the step that they belong to
        self.log_dict(self.figures, logger=False)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        self._collect(self(batch), batch)

    def on_predict_epoch_end(self) -> None:
        self._decode()
