"""Private names of other libraries that this project needs, with the version they were read in.

Lightning 2.6.6, torch 2.13.0, transformers 5.23.0, Optuna 5.0.0, submitit 1.5.4, wandb-workspaces 0.4.13. Whoever
raises a pin looks here, for uvicorn's at `qa/serving/server.py`, and at `qa/model/fast/logits.py` and
`qa/training/training_steps.py`, which take one of transformers' and one of torch's own.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer
    from optuna import Study
    from optuna.trial import Trial
    from torch import Tensor
    from transformers import PretrainedConfig

# transformers


def set_implementation(config: "PretrainedConfig", attention: str | None) -> None:
    """Sets how a model computes attention, None for the best way here, whatever its config.json asks for."""
    config._attn_implementation, config._experts_implementation = attention, None


# Lightning


def evaluation_follows(trainer: "Trainer") -> bool:
    """Whether Lightning will evaluate right after the step that has just ended."""
    loop: Any = trainer.fit_loop
    return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def leave_signals_to_us(trainer: "Trainer") -> None:
    """Stops Lightning from asking all ranks through the GPU in every step whether one got SIGTERM."""
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = lambda: None


def set_group(strategy: Any, backend: str | None, timeout: timedelta) -> None:
    """The backend of torch.distributed, unless one is set, and the patience with which Lightning connects ranks."""
    strategy._process_group_backend = strategy._process_group_backend or backend
    strategy._timeout = timeout


def train_without_ddp(strategy: Any, module: "LightningModule") -> None:
    """Keeps Lightning from wrapping a module into DDP; ranks still begin with the weights of the first one."""
    from torch.distributed.distributed_c10d import _get_default_group
    from torch.distributed.utils import _sync_module_states

    at_once = 250 * 2**20  # bytes, as DDP has it
    strategy.configure_ddp = lambda: _sync_module_states(module, _get_default_group(), at_once, 0, set())


def loop_state(step: int, steps_per_epoch: int) -> dict[str, Any]:
    """Lightning's loop counters between two steps, every evaluation until then done.

    Counters read in a hook say neither which evaluation is done nor survive all moments at which a run may stop.
    loop_state(5, 4): one epoch completed, the second begun, its first batch done.
    """
    epoch, done = divmod(step, steps_per_epoch)
    begun = epoch + (done > 0)
    epochs = {"ready": begun, "started": begun, "processed": epoch, "completed": epoch}
    batches, total = (dict.fromkeys(epochs, count) for count in (done, step))
    steps = {"total": {"ready": step, "completed": step}, "current": {"ready": done, "completed": done}}
    zero_grad = {kind: {**count, "started": count["ready"]} for kind, count in steps.items()}
    return {
        "epoch_progress": {"total": epochs, "current": epochs},
        "epoch_loop.batch_progress": {"total": total, "current": batches, "is_last_batch": False},
        "epoch_loop.scheduler_progress": steps,
        "epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": steps, "zero_grad": zero_grad}},
        "epoch_loop.val_loop.batch_progress": {
            "total": dict.fromkeys(epochs, 0),
            "current": dict.fromkeys(epochs, 0),
            "is_last_batch": False,
        },
    }


# torch


def flash_attention(
    query: "Tensor", key: "Tensor", value: "Tensor", bounds: "Tensor", longest: int, dropout: float, scale: float | None
) -> "Tensor":
    """Attention within each of several windows, their tokens one after another; torch.nn.attention has no dropout.

    Query, key, value: half precision on a GPU, [tokens, heads, size]; bounds: int32 [windows + 1]; → as query.
    """
    import torch

    out: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, dropout, False, False, scale=scale
    )[0]
    return out


# Optuna


def live_trial(study: "Study", number: int) -> "Trial":
    """The trial of a number as one that can be reported to."""
    from optuna.trial import Trial

    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


# submitit


def local_process(job: Any) -> Any:
    """The process of a job that submitit runs on this machine; None for one on a cluster."""
    return getattr(job, "_process", None)


# wandb-workspaces


def view_as_json(view: Any) -> str:
    """A workspace as W&B keeps it."""
    text: str = view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    return text
