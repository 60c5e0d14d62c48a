"""`TrainingSteps`: a module's training step over all ranks: gradients, their norm, and what is not finite."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

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
from qa.training.collectives import all_gather, largest, sum_rows, summed
from qa.training.devices import seed_device
from qa.training.evaluation_steps import EvaluationSteps

log = logging.getLogger(__name__)


class TrainingSteps(EvaluationSteps):
    """A module with a `forward` for start and end logits.

    The host does not wait for the figures of a step on a device of `late`: it reads them when the next step begins,
    while the device still runs the optimizer, which has left the step out on its own if it was not finite.
    """

    late = frozenset({"cuda"})
    seed: int
    micro_batches: MicroBatches
    nonfinite: NonFinite
    step_metrics: dict[str, float]  # of the last step that was read, over all ranks
    nonfinite_steps = 0  # skipped ones
    wishes: Callable[[], Sequence[int]] = tuple  # flags that this rank tells all others
    agreed: Sequence[int] = ()  # the largest of each rank's wishes, as of the last training step
    loss_sum, loss_windows = 0.0, 0  # of the epoch so far, over all ranks
    # of the training step under way, or the one before it until that is read
    _unread = False
    _uses: list[Callable[[dict[str, float]], None]]  # of its figures
    _step = 0  # steps before it
    _batch: TrainingBatch
    _losses: list[Tensor]  # weighted, of each part's windows: float32 [part]
    _loss: Tensor  # over all ranks
    _optimizer: Any
    _rates: list[float]  # of the optimizer's groups
    _norm: Tensor  # of the gradients
    _figures: Tensor  # loss and norm, float32 [2], on the device
    _copy: Tensor  # of the figures, on the host once `_copied`, if that is an event
    _copied: torch.cuda.Event | None = None
    _flat: FlatGradients | None = None  # where several ranks add their gradients up, or graphs find them
    _graphs: Graphs | None = None  # which compute gradients; None: kernel by kernel

    def on_train_epoch_start(self) -> None:
        self.loss_sum, self.loss_windows = 0.0, 0

    def on_train_batch_start(self, batch: TrainingBatch, batch_idx: int) -> None:
        self.read_step()

    def on_validation_model_zero_grad(self) -> None:
        """Comes before an evaluation within a fit, as long as the model is in training."""
        self.read_step()
        super().on_validation_model_zero_grad()

    def on_train_epoch_end(self) -> None:
        self.read_step()

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """Computes a batch's gradients; the returned loss, through which the trainer goes backward, adds none."""
        self._step, self._batch = self.trainer.global_step, batch
        self._compute(self._graphs or self._pass)
        return torch.zeros((), device=self.device, requires_grad=True)

    def _compute(self, compute: Callable[[TrainingBatch], Tensor]) -> None:
        """Computes gradients and loss over all ranks, in as many parts as the memory needs; `compute`: as `_pass`.

        Ranks add their gradients up once all are known to have theirs: one without memory could not tell the others.
        """
        while True:
            self._seed_step()
            (self._graphs or self._flat or self).zero_grad()
            self._losses = [torch.zeros(0, dtype=torch.float32, device=self.device)]
            short, *self.agreed = largest([self._runs_short(compute), *self.wishes()])
            if not short:
                break
            self.micro_batches.halve(self._batch)
            if self._graphs:
                self._graphs.drop()
            self._free_memory()
        self._loss = summed(torch.cat(self._losses).sum())
        if self._flat:
            self._add_up(self._flat)

    def _add_up(self, gradients: FlatGradients) -> None:
        """Adds the ranks' gradients up; of the words' embedding, half of a model, the rows of this step's words."""
        batch, embedding = self._batch, gradients.embedding
        most = batch["share"] * batch["longest"]  # tokens of a rank, its padding included
        if embedding is None or most * self.trainer.world_size >= len(embedding):
            summed(gradients.flat)
            return
        for part in gradients.others:
            summed(part)
        sum_rows(embedding, batch["input_ids"].flatten(), most)

    def _seed_step(self) -> None:
        """Seeds dropout by (seed, step, rank) where it is no function of windows: a resumed run draws the same."""
        step = self.seed, self._step, self.global_rank
        seed_device(int(np.random.SeedSequence(step).generate_state(1, np.uint64)[0] >> 1), self.device)

    def _runs_short(self, compute: Callable[[TrainingBatch], Tensor]) -> bool:
        """Computes this rank's gradients; returns whether the memory was too small."""
        batch = self._batch
        try:
            for part in self.micro_batches.split(batch):
                if part["weight"] or self._flat is None:  # a stand-in is for shards, which all ranks have to gather
                    self._losses.append(compute(part))
            return False
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self._refuse_shards(self.micro_batches.size(batch), batch["longest"], "data.micro_batch_size")
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

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        """Notes the step's figures and clips the gradients, or has the optimizer do so."""
        self._optimizer, self._unread = optimizer, True
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._note_figures()
        if self._is_late():
            self._leave_to_optimizer()
            return
        self.read_step()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        most = self.trainer.gradient_clip_val
        if most and self.trainer.gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, most)
        elif most and self.step_metrics["gradient_norm"] > 0.99 * most:  # below, the factor is 1
            torch.nn.utils.clip_grads_with_norm_(parameters, most, self._norm)

    def _is_late(self) -> bool:
        """Whether the optimizer looks itself, on the device, for what is not finite: torch's fused Adam can."""
        optimizer, trainer = self._optimizer, self.trainer
        return (
            self.device.type in self.late
            and type(optimizer) in (torch.optim.Adam, torch.optim.AdamW)
            and all(group["fused"] for group in optimizer.param_groups)  # a checkpoint brings its own
            and trainer.scaler is None
            and trainer.gradient_clip_algorithm != "value"
            and not isinstance(trainer.strategy, ModelParallelStrategy)
        )

    def _leave_to_optimizer(self) -> None:
        """Has the optimizer clip the gradients, and change nothing where the step is not finite."""
        most = self.trainer.gradient_clip_val
        self._optimizer.found_inf = (~self._figures.isfinite().all()).float()
        self._optimizer.grad_scale = (self._figures[1] / most).clamp(min=1) if most else None

    def _note_figures(self) -> None:
        """Notes loss and gradient norm, which the host gets when they are computed."""
        groups, scaler = self._optimizer.param_groups, self.trainer.scaler
        if scaler is not None and getattr(self._optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(self._optimizer)  # a fused optimizer would do so itself, after the clipping
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        self._norm = torch.nn.utils.get_total_norm(gradients)
        whole = self._norm.full_tensor() if isinstance(self._norm, DTensor) else self._norm
        self._figures = torch.stack([self._loss, whole])
        self._copy = self._figures.to("cpu", non_blocking=True)
        if self.device.type == "cuda":
            self._copied = torch.cuda.current_stream().record_event()

    def when_read(self, use: Callable[[dict[str, float]], None]) -> None:
        """Calls `use` with the figures of the last step, as soon as the host has read them."""
        if self._unread:
            self._uses.append(use)
        else:
            use(self.step_metrics)

    def read_step(self) -> None:
        """Reads the last step's figures, once; a step that is not finite ends the run or, asked to, changes nothing.

        One that CUDA graphs have computed is first computed again, kernel by kernel.
        """
        if not self._unread:
            return
        finite, way, scaler = self._read_figures(), "kernel by kernel", self.trainer.scaler
        if not finite and any(largest([self._graphs is not None and self._graphs.replayed])):
            way, broken = "by CUDA graphs and again kernel by kernel", self._broken_gradients()
            with torch.enable_grad(), self.trainer.precision_plugin.train_step_context():
                self._compute(self._pass)
            self._note_figures()
            if finite := self._read_figures():
                problem = "step %d: not finite as CUDA graphs (gradients of %s), but kernel by kernel, which is taken"
                log.warning(problem, self._step + 1, broken)
                if self._is_late():
                    self._take_step()
        if not finite and (scaler is None or scaler.get_scale() <= 1 or not math.isfinite(self.step_metrics["loss"])):
            self._not_finite(way)
        else:
            self.nonfinite_steps += not finite  # an overflow: the scaler skips the step and takes a smaller scale
            self.loss_sum += self.step_metrics["loss"] * self._batch["windows"]
            self.loss_windows += self._batch["windows"]
        for use in self._uses:
            use(self.step_metrics)
        self._uses.clear()

    def _read_figures(self) -> bool:
        """Waits for the step's figures; returns whether they are finite."""
        if self._copied:
            self._copied.synchronize()
        self._unread = False
        loss, norm = self._copy.tolist()
        self.step_metrics.update(loss=loss, gradient_norm=norm, learning_rate=self._rates[0])
        return math.isfinite(loss) and math.isfinite(norm)

    def _take_step(self) -> None:
        """Takes the step that the optimizer left out, at the learning rates of then."""
        groups = self._optimizer.param_groups
        later = [group["lr"] for group in groups]
        _set_rates(groups, self._rates)
        self._leave_to_optimizer()
        self._optimizer.step()
        _set_rates(groups, later)

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
        problem = f"step {self._step + 1}: {figures.format(**self.step_metrics)}, {windows}"
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


def _set_rates(groups: list[dict[str, Any]], rates: list[float]) -> None:
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
