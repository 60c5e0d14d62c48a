"""`EvaluationSteps`: a module's evaluation, gathered from all ranks, and its scores."""

from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from qa.data.epochs.batches import Batch, EvaluationBatch
from qa.errors import UserError, is_out_of_memory
from qa.evaluation.answers import Evaluation
from qa.evaluation.collect import EvaluatedBatch, collect, evaluate_batch
from qa.model.fast.micro_batches import MicroBatches
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
        self._evaluation_parts = MicroBatches()

    def losses(self, logits: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """`span_loss` of every window of a batch, float32 [batch]."""
        return span_loss(*logits, batch["start_positions"], batch["end_positions"], batch["attention_mask"])

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Keeps a batch's spans, computed in as many parts as the memory needs."""
        whole: Any = {**batch, "share": len(batch["rows"]), "longest": int(batch["lengths"].max())}
        while True:
            try:
                self._evaluated += [self._evaluate(part) for part in self._evaluation_parts.split(whole)]
                return
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._refuse_shards(len(batch["rows"]), whole["longest"], "data.eval_batch_size")
            self._evaluation_parts.halve(whole)
            self._free_memory()

    test_step = predict_step = validation_step

    def _evaluate(self, batch: Any) -> EvaluatedBatch:
        logits = self(batch)
        losses = None if self.trainer.predicting else self.losses(logits, batch)
        return evaluate_batch(logits, batch, losses, self.n_best, self.max_answer_length)

    def _refuse_shards(self, windows: int, longest: int, setting: str) -> None:
        """Errors: UserError where other ranks would wait for the shards of this one, whose memory is too small."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and self.trainer.world_size > 1:
            problem = f"out of memory with {windows} windows of {longest} tokens at once"
            raise UserError(f"{problem}; trainer=sharded needs {setting}=N, a number that fits")

    def _free_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

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

    on_test_epoch_end = on_validation_epoch_end

    def on_predict_epoch_end(self) -> None:
        self._decode()
