"""`QuestionAnsweringModule`: the model on its device, and its optimizer."""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from pydantic import Field
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from qa import recipe
from qa.config.settings import NonFinite
from qa.data.epochs.batches import Batch
from qa.internals import train_without_ddp
from qa.model.fast.gradients import FlatGradients
from qa.model.fast.graphs import Graphs
from qa.model.fast.logits import Padded, Unpadded, fastest_way
from qa.model.fast.micro_batches import MicroBatches, MicroBatchSize
from qa.model.optimization import can_fuse, parameter_groups
from qa.model.pretrained import Attention, load_model, shard
from qa.training.training_steps import TrainingSteps


class QuestionAnsweringModule(TrainingSteps):
    """An encoder with a span head."""

    def __init__(
        self,
        pretrained: str,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        total_steps: int = 1,
        n_best: int = recipe.N_BEST,
        max_answer_length: int = recipe.MAX_ANSWER_LENGTH,
        seed: int = recipe.RUN_SEED,
        micro_batch_size: MicroBatchSize = "auto",
        nonfinite: NonFinite = "stop",
        attention: Attention = "auto",
        gradient_checkpointing: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] | None = None,
        no_answer_threshold: float | None = None,
    ) -> None:
        """`optimizer(parameter_groups)` makes the optimizer, `scheduler(optimizer, total_steps)` its schedule.

        `no_answer_threshold`: of these weights; None: they were not trained on SQuAD v2.
        """
        super().__init__(n_best, max_answer_length, no_answer_threshold)
        self.pretrained, self.seed, self.step_metrics = pretrained, seed, {}
        self.micro_batches, self.nonfinite = MicroBatches(micro_batch_size), nonfinite
        self.attention, self.gradient_checkpointing = attention, gradient_checkpointing
        self.model, self.inputs, self.trained_head = load_model(pretrained, attention, gradient_checkpointing, dropout)
        self.way = Padded(self.model, self.inputs)  # until its device is known
        self.optimizer, self.scheduler, self.total_steps = optimizer, scheduler, total_steps

    def configure_model(self) -> None:
        """Prepares the model before each stage; shards it once where there is a mesh, as with `trainer=sharded`."""
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            train_without_ddp(strategy, self)  # gradients are added up after the passes of a step, not within them
        self.way = self._fastest_way(self.trainer)(self.model, self.inputs)
        if isinstance(self.model, FSDPModule):
            self.model.reshard()  # an evaluation leaves some of it whole
        elif self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Start and end logits, float [batch, length] each."""
        return self.way.logits(batch, self.seed, self._step)

    def on_train_start(self) -> None:
        self._unread, self._uses = False, []
        is_compiled, has_ranks = not self.why_no_graphs(self.trainer), isinstance(self.trainer.strategy, DDPStrategy)
        self._flat = FlatGradients(self.model) if is_compiled or has_ranks else None
        self._graphs = Graphs(self._pass, self._flat) if is_compiled and self._flat else None

    def on_train_end(self) -> None:
        self._graphs = None  # it has this module, and memory

    def why_no_graphs(self, trainer: Trainer) -> str:
        """The setting that keeps a pass from being a CUDA graph; empty where none does."""
        alone, precision = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy), trainer.precision
        reasons = {
            "trainer=sharded": not alone,
            f"trainer.precision={precision}": precision not in ("bf16-mixed", "bf16-true"),
            "model.gradient_checkpointing=true": self.gradient_checkpointing,
            "trainer.detect_anomaly=true": torch.is_anomaly_enabled(),
            "an attention that needs padding": self._fastest_way(trainer) is not Unpadded,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _fastest_way(self, trainer: Trainer) -> type[Padded]:
        return fastest_way(self.model, self.attention, trainer.strategy.root_device, str(trainer.precision))

    def configure_optimizers(self) -> Any:
        fused = {"fused": True} if can_fuse(self.optimizer, self.trainer.strategy.root_device) else {}
        optimizer = self.optimizer(parameter_groups(self.parameters()), **fused)
        scheduler = self.scheduler(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["pretrained"] = self.pretrained
        checkpoint["train_loss"] = [self.loss_sum, self.loss_windows]
        checkpoint["nonfinite_steps"] = self.nonfinite_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loss_sum, self.loss_windows = checkpoint["train_loss"]
        self.nonfinite_steps = checkpoint["nonfinite_steps"]
