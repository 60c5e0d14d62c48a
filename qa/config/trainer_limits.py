"""The values of the arguments of `lightning.Trainer` that a run refuses although Lightning takes them."""

from collections.abc import Callable, Mapping
from typing import Any

# Lightning's other strategies start processes themselves, or keep weights where checkpoints do not find them
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
PART = "should be a number of batches, at least 1, or a share of the windows such as 0.1"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_part(value: Any) -> bool:
    """Whether a value is a number of batches or a share; what is no number is reported by its type."""
    return not isinstance(value, int | float) or (value >= 1 if isinstance(value, int) else 0 < value <= 1)


def _above_0_or(other: int | None) -> Callable[[Any], bool]:
    return lambda value: not _is_number(value) or value > 0 or value == other


# {arguments: (the values that are allowed, or whether one is; why others are not)}
TRAINER_LIMITS: dict[str, tuple[tuple[Any, ...] | Callable[[Any], bool], str]] = {
    "accumulate_grad_batches": ((1,), "refused; data.batch_size is the batch of one step on any hardware"),
    "use_distributed_sampler": ((False,), "refused; batches are formed before the processes share them"),
    "overfit_batches": ((0,), "refused; use data.limit"),
    "logger": ((None, []), "refused; it is a group of its own: logger=wandb|csv|tensorboard|none"),
    "callbacks": ((None, []), "refused; it is a group of its own: callbacks=…"),
    "num_nodes": ((1,), "refused; start the nodes with torchrun or srun, which set their number"),
    "barebones": ((False,), "refused; it takes loggers and progress away, and this program's own callbacks stay"),
    "strategy": (
        lambda value: value in STRATEGIES or (isinstance(value, Mapping) and "_target_" in value),
        "refused; trainer.devices=N starts the processes, trainer=sharded divides the model among them; else choose "
        + ", ".join(STRATEGIES),
    ),
    "accelerator": (("auto", "cpu", "gpu", "cuda", "mps"), "should be 'auto', 'cpu', 'gpu', 'cuda' or 'mps'"),
    "profiler": ((None, "simple", "advanced", "pytorch"), "should be 'simple', 'advanced' or 'pytorch'"),
    "gradient_clip_algorithm": ((None, "norm", "value"), "should be 'norm' or 'value'"),
    "gradient_clip_val": (lambda value: not _is_number(value) or value >= 0, "should be greater than or equal to 0"),
    "max_time": (lambda value: value is None or isinstance(value, str | Mapping), "should be DD:HH:MM:SS"),
    "max_epochs max_steps": (_above_0_or(-1), "should be greater than 0"),
    "max_epochs": (lambda value: not _is_number(value) or value < 2**31, "should be less than 2147483648"),
    "val_check_interval": (
        lambda value: not isinstance(value, str | Mapping),
        "each process has a clock of its own; give a number of steps, or a share of an epoch such as 0.25",
    ),
    "check_val_every_n_epoch val_check_interval": (_above_0_or(None), "should be greater than 0"),
    "limit_train_batches": (_is_part, PART),
    "limit_val_batches limit_test_batches limit_predict_batches": (
        _is_part,
        f"{PART}; without an evaluation no epoch is the best",
    ),
}
