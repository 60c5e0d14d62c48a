"""`TrainingSteps`: a module's training step over all ranks: gradients, their norm, and what is not finite."""

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from qa.config.settings import NonFinite
from qa.data.epochs.batches import TrainingBatch
from qa.errors import UserError, is_out_of_memory
from qa.model.fast.gradients import FlatGradients
from qa.model.fast.graphs import Graphs
from qa.model.fast.micro_batches import MicroBatches
from qa.training.collectives import all_gather, largest, summed
from qa.training.devices import seed_device
from qa.training.evaluation_steps import EvaluationSteps

log = logging.getLogger(__name__)


class TrainingSteps(EvaluationSteps):
    """A module with a `forward` for start and end logits; `step_metrics` holds the figures of its last step."""

    seed: int
    micro_batches: MicroBatches
    nonfinite: NonFinite
    step_metrics: dict[str, float]  # over all ranks
    nonfinite_steps = 0  # skipped ones
    wishes: Callable[[], Sequence[int]] = tuple  # flags that this rank tells all others
    agreed: Sequence[int] = ()  # the largest of each rank's wishes, as of the last training step
    loss_sum, loss_windows = 0.0, 0  # of the epoch so far, over all ranks
    # of the training step under way
    _batch: TrainingBatch
    _losses: list[Tensor]  # weighted, of each part's windows: float32 [part]
    _loss: Tensor  # over all ranks
    _flat: FlatGradients | None = None  # where several ranks add their gradients up, or graphs find them
    _graphs: Graphs | None = None  # which compute gradients; None: kernel by kernel

    def on_train_epoch_start(self) -> None:
        self.loss_sum, self.loss_windows = 0.0, 0

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Computes a batch's gradients; the returned loss, through which the trainer goes backward, adds none."""
        self._batch = batch
        self._compute(batch, self._graphs or self._pass)
        return torch.zeros((), device=self.device, requires_grad=True)

    def _compute(self, batch: TrainingBatch, compute: Callable[[TrainingBatch], Tensor]) -> None:
        """Computes gradients and loss over all ranks, in as many parts as the memory needs; `compute`: as `_pass`.

        Ranks add their gradients up once all are known to have theirs: one without memory could not tell the others.
        """
        while True:
            self._seed_step()
            (self._graphs or self._flat or self).zero_grad()
            self._losses = [torch.zeros(0, dtype=torch.float32, device=self.device)]
            short, *self.agreed = largest([self._runs_short(batch, compute), *self.wishes()])
            if not short:
                break
            self.micro_batches.halve(batch)
            if self._graphs:
                self._graphs.drop()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        self._loss = summed(torch.cat(self._losses).sum())
        if self._flat:
            summed(self._flat.flat)

    def _seed_step(self) -> None:
        """Seeds dropout by (seed, step, rank) where it is no function of windows: a resumed run draws the same."""
        step = self.seed, self.trainer.global_step, self.global_rank
        seed_device(int(np.random.SeedSequence(step).generate_state(1, np.uint64)[0] >> 1), self.device)

    def _runs_short(self, batch: TrainingBatch, compute: Callable[[TrainingBatch], Tensor]) -> bool:
        """Computes this rank's gradients; returns whether the memory was too small."""
        try:
            for part in self.micro_batches.split(batch):
                if part["weight"] or self._flat is None:  # a stand-in is for shards, which all ranks have to gather
                    self._losses.append(compute(part))
            return False
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and self.trainer.world_size > 1:
            raise UserError(  # the other ranks wait for this one's shards
                f"out of memory with {self.micro_batches.size(batch)} windows of {batch['longest']} tokens at once;"
                " trainer=sharded needs data.micro_batch_size=N, a number that fits"
            )
        return True

    def _pass(self, batch: TrainingBatch) -> Tensor:
        """Weighted losses, float32 [batch]; adds to the parameters' gradients. A CUDA graph can hold it."""
        losses = self.losses(self(batch), batch) * batch["weight"]
        # the weights of all ranks add up to 1; whoever averages gradients divides them by the number of ranks
        loss = losses.sum() * (1 if self._flat else self.trainer.world_size)
        # the trainer's own backward pass is outside of autocast, within which its sums have other bits
        with torch.autocast(self.device.type, enabled=False):
            self.trainer.strategy.backward(loss, None)
        return losses.detach()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Does nothing: `training_step` clears the gradients before its first part."""

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Notes the step's figures; a step that is not finite ends the run or, asked to, changes nothing.

        One that CUDA graphs have computed is first computed again, kernel by kernel.
        """
        scaler, step, way = self.trainer.scaler, self.step_metrics, "kernel by kernel"
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = self._note_figures(optimizer, parameters)
        if not self._is_finite() and any(largest([self._graphs is not None and self._graphs.replayed])):
            way, broken = "by CUDA graphs and again kernel by kernel", self._broken_gradients()
            with torch.enable_grad(), self.trainer.precision_plugin.train_step_context():
                self._compute(self._batch, self._pass)
            norm = self._note_figures(optimizer, parameters)
            if self._is_finite():
                problem = "step %d: not finite as CUDA graphs (gradients of %s), but kernel by kernel, which is taken"
                log.warning(problem, self.trainer.global_step + 1, broken)
        if not self._is_finite():
            if scaler is None or scaler.get_scale() <= 1 or not math.isfinite(step["loss"]):
                self._not_finite(way)
                return
            self.nonfinite_steps += 1  # an overflow: the scaler skips the step and takes a smaller scale
        self.loss_sum += step["loss"] * self._batch["windows"]
        self.loss_windows += self._batch["windows"]
        if gradient_clip_val and gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif gradient_clip_val and step["gradient_norm"] > 0.99 * gradient_clip_val:  # below, the factor is 1
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def _note_figures(self, optimizer: Optimizer, parameters: list[Tensor]) -> Tensor:
        """Notes loss, gradient norm and learning rate; returns the norm as it is on the device."""
        scaler, step = self.trainer.scaler, self.step_metrics
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # a fused optimizer would do so itself, after the clipping
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        # the step's one look at a device, which waits there until all that was asked of it is done
        step["loss"], step["gradient_norm"] = torch.stack([self._loss, whole]).tolist()
        step["learning_rate"] = optimizer.param_groups[0]["lr"]
        return norm

    def _is_finite(self) -> bool:
        return math.isfinite(self.step_metrics["loss"]) and math.isfinite(self.step_metrics["gradient_norm"])

    def _broken_gradients(self) -> str:
        """The first parameters, by name, whose gradients are not finite."""
        gradients = {name: parameter.grad for name, parameter in self.named_parameters() if parameter.grad is not None}
        names = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _not_finite(self, way: str) -> None:
        finite = torch.cat(self._losses).isfinite().tolist()
        named = [f"{row} ({name})" for row, name in zip(self._batch["rows"], self._batch["ids"], strict=True)]
        guilty = [name for name, good in zip(named, finite, strict=False) if not good]
        figures = "the loss is {loss}, the gradient norm {gradient_norm:.3g}, at learning rate {learning_rate:.3g}"
        windows = f"training windows (questions) {', '.join(all_gather(guilty) or all_gather(named))}"
        problem = f"step {self.trainer.global_step + 1}: {figures.format(**self.step_metrics)}, {windows}"
        if math.isfinite(self.step_metrics["loss"]):
            problem += f", gradients of {self._broken_gradients()}, computed {way}"
        broken = not all(parameter.isfinite().all() for parameter in self.parameters())
        if self.nonfinite == "stop" or broken:
            skip = "" if broken else ", or skip such steps with nonfinite=skip"
            raise UserError(
                f"{problem}; lower optimizer.lr, look at these windows{skip}; the checkpoints before it are kept"
            )
        self.nonfinite_steps += 1
        log.warning("%s: skipped", problem)
        self.zero_grad()  # without gradients the optimizer changes neither weights nor its own state
