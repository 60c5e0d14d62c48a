"""`QuestionAnsweringModule`: the model, its loss, its optimizer, and its logged figures."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from pydantic import Field
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from qa import recipe
from qa.config.settings import NonFinite
from qa.data.epochs.batches import Batch, TrainingBatch
from qa.errors import UserError, is_out_of_memory
from qa.internals import run_through_ddp
from qa.model.fast.dropout import PackedWindows, draw_for
from qa.model.fast.graphs import Graphs
from qa.model.fast.micro_batches import MicroBatches, MicroBatchSize
from qa.model.fast.unpadded import FAMILIES, UNPADDED, fits, unpadded_logits
from qa.model.fast.window_attention import WINDOWS, compute_by_windows, fits_windows
from qa.model.optimization import can_fuse, parameter_groups
from qa.model.pretrained import Attention, load_model, shard
from qa.training.collectives import all_gather, largest, summed
from qa.training.devices import seed_device
from qa.training.evaluation_steps import EvaluationSteps

log = logging.getLogger(__name__)


class QuestionAnsweringModule(EvaluationSteps):
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
        self.pretrained, self.seed = pretrained, seed
        self.attention, self.gradient_checkpointing = attention, gradient_checkpointing
        self.model, self.inputs, self.trained_head = load_model(pretrained, attention, gradient_checkpointing, dropout)
        self.optimizer, self.scheduler, self.total_steps = optimizer, scheduler, total_steps
        self.micro_batches, self.nonfinite = MicroBatches(micro_batch_size), nonfinite
        self.nonfinite_steps = 0  # skipped ones
        self.step_metrics: dict[str, float] = {}  # of the last training step, over all ranks
        self.wishes: Callable[[], Sequence[int]] = tuple  # flags that this rank tells all others
        self.agreed: list[int] = []  # the largest of each rank's wishes, as of the last training step
        self.loss_sum, self.loss_windows = 0.0, 0  # of the epoch so far, over all ranks
        # of the training step under way
        self._batch: TrainingBatch = {}
        self._losses: list[Tensor] = []  # weighted, of each part's windows: float32 [part]
        self._loss = torch.zeros(())  # over all ranks
        self._graphs: Graphs | None = None  # which compute gradients; None: kernel by kernel

    def configure_model(self) -> None:
        """Prepares the model before each stage; shards it once where there is a mesh, as with `trainer=sharded`."""
        device, precision = self.trainer.strategy.root_device, str(self.trainer.precision)
        if self.attention == "auto" and fits(self.model, device, precision):
            self.model.set_attn_implementation(UNPADDED)
        if self.attention == "auto" and fits_windows(self.model, device, precision):
            compute_by_windows(self.model)
        if isinstance(self.model, FSDPModule):
            self.model.reshard()  # an evaluation leaves some of it whole
        elif self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Start and end logits, float [batch, length] each."""
        inputs: dict[str, Tensor] = {name: batch[name] for name in self.inputs}  # type: ignore[literal-required]
        mask = batch["attention_mask"]
        config = self.model.config
        if config._attn_implementation == UNPADDED:
            return unpadded_logits(self.model, inputs, batch["lengths"])
        if config._attn_implementation == WINDOWS and self.training:
            draw_for(self.model, PackedWindows(self.seed, self.trainer.global_step, batch["keys"], batch["lengths"]))
            return unpadded_logits(self.model, inputs, batch["lengths"], filled=False)
        if mask.device.type != "cpu" and config._attn_implementation == "sdpa" and config.model_type in FAMILIES:
            # transformers would look whether anything is padded at all, and wait for the device
            inputs["attention_mask"] = mask[:, None, None, :].bool()
        output = self.model(**inputs)
        return output.start_logits, output.end_logits

    def on_train_start(self) -> None:
        """Gives DDP a first backward pass without gradients.

        After its first one DDP rebuilds its buckets, and with them the order of its additions: so the first step of a
        resumed run is added up like all others.
        """
        strategy = self.trainer.strategy
        if self._can_be_graphs():
            self._graphs = Graphs(self._graph_pass, self.parameters())
        if isinstance(strategy, DDPStrategy) and strategy.model is not None:
            model: Any = strategy.model
            model.broadcast_buffers = False  # an encoder's are constants
            run_through_ddp(strategy, self, "no_gradients").backward()
            self.zero_grad()

    def _can_be_graphs(self) -> bool:
        """Whether a pass needs no help of the host: no exchange, no scale, no look at values, no second pass."""
        alone = isinstance(self.trainer.strategy, SingleDeviceStrategy) and self.trainer.precision == "bf16-mixed"
        plain = not self.gradient_checkpointing and not torch.is_anomaly_enabled()
        return alone and plain and self.model.config._attn_implementation == UNPADDED

    def no_gradients(self, _: None = None) -> Tensor:
        """A loss that does not change, scalar. DDP waits for a gradient of every parameter: here they are all zero.

        The argument is for DDP, which on a GPU moves the inputs of a forward pass and fails where there are none.
        """
        return torch.stack([parameter.flatten()[0] * 0 for parameter in self.parameters()]).sum()

    def on_train_epoch_start(self) -> None:
        self.loss_sum, self.loss_windows = 0.0, 0

    def on_train_batch_start(self, batch: TrainingBatch, batch_idx: int) -> None:
        self._batch = batch
        self._seed_step()

    def _seed_step(self) -> None:
        """Seeds dropout by (seed, step, rank) where it is no function of windows: a resumed run draws the same."""
        step = self.seed, self.trainer.global_step, self.global_rank
        seed_device(int(np.random.SeedSequence(step).generate_state(1, np.uint64)[0] >> 1), self.device)

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Computes a batch's gradients in as many parts as the memory needs; the returned loss adds the last ones.

        Where DDP averages gradients during the last backward pass, that pass is left to the trainer, but only once it
        is known to fit: a rank that runs out of memory there cannot tell the others, which wait for its gradients.
        """
        while True:
            self._graphs.zero_gradients() if self._graphs else self.zero_grad()
            self._losses = []
            last, out_of_memory = self._gradients(batch)
            short, *self.agreed = largest([out_of_memory, *self.wishes()])
            if not short:
                break
            del last
            self.micro_batches.halve(batch)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._seed_step()
        if self.trainer.optimizers[0].state:  # before its first step an optimizer takes less memory than ever after
            self.micro_batches.carried(batch)
        self._loss = summed(torch.cat(self._losses).sum())
        if last is not None:
            return last
        averages = isinstance(self.trainer.strategy, DDPStrategy)
        return self.no_gradients() if averages else torch.zeros((), device=self.device, requires_grad=True)

    def _gradients(self, batch: TrainingBatch) -> tuple[Tensor | None, bool]:
        """The loss of the part that has no gradients yet, if any, and whether the memory was too small."""
        strategy = self.trainer.strategy
        parts = self.micro_batches.split(batch)
        last = parts.pop() if isinstance(strategy, DDPStrategy) and self.micro_batches.fits(batch) else None
        try:
            for part in parts:
                if self._graphs is not None:
                    self._losses.append(self._graphs(part))
                    continue
                loss = self._weighted_loss(part)
                # the trainer's own backward pass is outside of autocast, within which its sums have other bits
                with torch.autocast(self.device.type, enabled=False):
                    strategy.backward(loss, None)
            return None if last is None else self._weighted_loss(last), False
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if isinstance(strategy, ModelParallelStrategy) and self.trainer.world_size > 1:
            raise UserError(  # the other ranks wait for this one's shards
                f"out of memory with {self.micro_batches.size(batch)} windows of {batch['longest']} tokens at once;"
                " trainer=sharded needs data.micro_batch_size=N, a number that fits"
            )
        return None, True

    def _weighted_loss(self, batch: TrainingBatch) -> Tensor:
        """The weighted loss, times the ranks: all their weights add up to 1, and their gradients are averaged."""
        losses = self.losses(self(batch), batch) * batch["weight"]  # [part]
        self._losses.append(losses.detach())
        return losses.sum() * self.trainer.world_size

    def _graph_pass(self, batch: TrainingBatch) -> Tensor:
        """Weighted losses, float32 [batch]; adds the gradients to the parameters'. A CUDA graph can hold it."""
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):  # a cache has another place next time
            losses = self.losses(self(batch), batch) * batch["weight"]
        with torch.autocast("cuda", enabled=False):
            losses.sum().backward()
        return losses.detach()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Does nothing: `training_step` clears the gradients before its first part."""

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Notes the step's figures; a step that is not finite ends the run or, asked to, changes nothing."""
        scaler, step = self.trainer.scaler, self.step_metrics
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # a fused optimizer would do so itself, after the clipping
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        # the step's one look at a device, which waits there until all that was asked of it is done
        step["loss"], step["gradient_norm"] = torch.stack([self._loss, whole]).tolist()
        step["learning_rate"] = optimizer.param_groups[0]["lr"]
        if not math.isfinite(step["loss"]):
            self._not_finite()
            return
        if not math.isfinite(step["gradient_norm"]):
            if scaler is None or scaler.get_scale() <= 1:
                self._not_finite()
                return
            self.nonfinite_steps += 1  # an overflow: the scaler skips the step and takes a smaller scale
        self.loss_sum += step["loss"] * self._batch["windows"]
        self.loss_windows += self._batch["windows"]
        if gradient_clip_val and gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif gradient_clip_val and step["gradient_norm"] > 0.99 * gradient_clip_val:  # below, the factor is 1
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def _not_finite(self) -> None:
        finite = torch.cat(self._losses).isfinite().tolist()
        named = [f"{row} ({name})" for row, name in zip(self._batch["rows"], self._batch["ids"], strict=True)]
        guilty = [name for name, good in zip(named, finite, strict=False) if not good]
        figures = "the loss is {loss}, the gradient norm {gradient_norm:.3g}, at learning rate {learning_rate:.3g}"
        windows = f"training windows (questions) {', '.join(all_gather(guilty) or all_gather(named))}"
        problem = f"step {self.trainer.global_step + 1}: {figures.format(**self.step_metrics)}, {windows}"
        broken = not all(parameter.isfinite().all() for parameter in self.parameters())
        if self.nonfinite == "stop" or broken:
            skip = "" if broken else ", or skip such steps with nonfinite=skip"
            raise UserError(
                f"{problem}; lower optimizer.lr, look at these windows{skip}; the checkpoints before it are kept"
            )
        self.nonfinite_steps += 1
        log.warning("%s: skipped", problem)
        self.zero_grad()  # without gradients the optimizer changes neither weights nor its own state

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
