"""The settings of a run, checked before anything is read: values, their types, and how they go together."""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qa.errors import UserError
from qa.runs.results import Monitor

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)

NonFinite = Literal["stop", "skip"]  # what a step does whose loss or gradient is not finite

REFUSED = {
    "accumulate_grad_batches": "data.batch_size is the batch of one optimiser step, whatever carries it",
    "use_distributed_sampler": "batches are formed before they are batches_of_rank out",
    "overfit_batches": "use data.limit",
    "logger": "it is a group of its own: logger=wandb|csv|tensorboard|none",
    "callbacks": "it is a group of its own: callbacks=…",
}
# a random part of the questions is evaluated: the datamodule draws it, and lightning sees no limit
EVALUATION_LIMITS = {
    "validation": "limit_val_batches",
    "test": "limit_test_batches",
    "predict": "limit_predict_batches",
}
ALLOWED = {
    "accumulate_grad_batches": 1,
    "use_distributed_sampler": False,
    "overfit_batches": 0.0,
}


class CheckpointSettings(BaseModel):
    """What makes an epoch the best, and when else checkpoints are saved."""

    model_config = ConfigDict(extra="forbid")
    monitor: Monitor
    every_n_steps: PositiveInt | None
    every_n_minutes: PositiveFloat | None
    keep: NonNegativeInt
    optimizer_state: Literal["all", "last"]
    on_error: Literal["stop", "continue"]


class Interval(BaseModel):
    """Values of a search from `low` to `high`, both inclusive; `log`: alike by their logarithm."""

    model_config = ConfigDict(extra="forbid")
    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and (self.low <= 0 or self.step is not None)):
            raise PydanticCustomError("interval", "low < high; with log: true 0 < low, and no step")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return all(isinstance(bound, int) for bound in (self.low, self.high, self.step or 1))


class DecodeSettings(BaseModel):
    """How answers are chosen."""

    model_config = ConfigDict(extra="forbid")
    n_best: PositiveInt
    max_answer_length: PositiveInt


class SweepSettings(BaseModel):
    """What becomes of the jobs of a multirun; `n_trials` and what follows are those of a search."""

    model_config = ConfigDict(extra="forbid")
    resume: bool = True
    keep_best: PositiveInt | None = None
    n_trials: PositiveInt | None = None
    space: dict[str, Annotated[list[Any], Field(min_length=1)] | Interval] = {}
    sampler: dict[str, Any] = {}
    pruner: dict[str, Any] = {}

    @field_validator("space", mode="before")
    @classmethod
    def _dotted(cls, space: Any) -> Any:
        return dict(_leaves(space)) if isinstance(space, Mapping) else space


class Settings(BaseModel):
    """The composed configuration. The groups are what their `_target_` takes, see `check_groups`."""

    model_config = ConfigDict(extra="forbid")
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    stage: Literal["fit", "validate", "test", "predict"]
    resume: str
    nonfinite: NonFinite
    push_to_hub: str | None = None
    matmul_precision: Literal["highest", "high", "medium"] = "high"
    checkpoint: CheckpointSettings
    decode: DecodeSettings
    data: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    trainer: dict[str, Any]
    sweep: SweepSettings = SweepSettings()
    callbacks: dict[str, dict[str, Any]] | None = None
    logger: dict[str, Any] | None = None


def check_settings(config: Mapping[str, Any]) -> Settings:
    """Checks what can be checked without importing a target. Errors: UserError, one line with the valid choices."""
    settings = validated(Settings, config)
    trainer, data = settings.trainer, settings.data
    for key, reason in REFUSED.items():
        if trainer.get(key, ALLOWED.get(key)) != ALLOWED.get(key):
            raise UserError(f"trainer.{key}={trainer[key]}: refused; {reason}")
    if trainer["devices"] in (0, "0", None, []):
        raise UserError(f"trainer.devices={trainer['devices']}: give a number, a list of GPUs such as [0,2], or auto")
    if trainer["num_nodes"] != 1:
        raise UserError(
            f"trainer.num_nodes={trainer['num_nodes']}: start the nodes with torchrun or srun, which say how many"
        )
    for key in ("max_epochs", "max_steps", "check_val_every_n_epoch", "val_check_interval"):
        value = trainer.get(key)
        endless = -1 if key.startswith("max_") else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0 and value != endless:
            raise UserError(f"trainer.{key}={value}: should be greater than 0")
    if isinstance(interval := trainer.get("val_check_interval"), str | Mapping):
        raise UserError(
            f"trainer.val_check_interval={interval}: each process would look at a clock of its own; give a number of"
            " steps, or a share of an epoch such as 0.25"
        )
    if trainer.get("max_epochs") in (None, -1) and trainer.get("max_steps") in (None, -1):
        raise UserError("trainer.max_epochs: without an end there is no schedule; set it or trainer.max_steps")
    for key in EVALUATION_LIMITS.values():
        limit = trainer.get(key)
        if limit is not None and not (limit >= 1 if isinstance(limit, int) else 0 < limit <= 1):
            raise UserError(
                f"trainer.{key}={limit}: should be a number of batches, at least 1, or a share of the windows such as"
                " 0.1; without an evaluation no epoch is the best"
            )
    if data.get("predictions_file") and settings.stage != "validate":
        raise UserError("data.predictions_file: is scored by stage=validate, which needs no model then")
    stride, length = data.get("stride"), data.get("max_length")
    if isinstance(stride, int) and isinstance(length, int) and stride >= length:
        raise UserError(
            f"data.stride={stride}: windows of data.max_length={length} cannot share that many tokens;"
            f" give less than {length} minus the special tokens of a window"
        )
    return settings


def validated(model: type[Model], values: Any, prefix: str = "") -> Model:
    """The values as a model. Errors: UserError, one line for the first that cannot be."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(wrong_value("", error, list(model.model_fields), prefix)) from None


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, values) of a nested space, whose leaves are choices or have a lower bound."""
    for name, child in node.items():
        if isinstance(child, Mapping) and "low" not in child:
            yield from _leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def wrong_value(key: str, error: ValidationError, choices: Iterable[str], prefix: str = "") -> str:
    """One line for pydantic's complaints about one key, below `prefix`: the key, the value, and what it may be."""
    errors = error.errors()
    first = errors[0]
    names = [] if key else [str(part) for part in first["loc"]]
    key = key or ".".join([*([prefix] if prefix else []), *names])
    if first["type"] == "extra_forbidden":
        return f"{key}: no such setting{suggestion(names[-1], choices)}"
    wishes = dict.fromkeys(e["msg"].replace("Input should be ", "") for e in errors if e["type"] != "is_instance_of")
    return f"{key}={first['input']}: should be {' or '.join(wishes)}"


def suggestion(name: str, choices: Iterable[str]) -> str:
    """ "; did you mean …" for a name that comes close to a choice, else where to look."""
    choices = list(choices)
    close = [c for c in choices if c.endswith(f".{name}")] or difflib.get_close_matches(name, choices, n=1)
    return f"; did you mean {close[0]}?" if close else "; see `python train.py --help`"
