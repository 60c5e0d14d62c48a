"""The settings of a run, checked before anything is read: values, their types, and how they go together."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qa.config.trainer_limits import TRAINER_LIMITS
from qa.config.wording import validated
from qa.data.epochs.mixture import file_weights
from qa.data.reading.files import check_stems, find_files
from qa.data.reading.sources import Split
from qa.data.squad_data import SquadData
from qa.errors import UserError
from qa.runs.results import Monitor

log = logging.getLogger(__name__)

NonFinite = Literal["stop", "skip"]  # the reaction to a loss or a gradient that is not finite

# the datamodule draws a random part of the questions; lightning sees no limit
EVALUATION_LIMITS = {
    "validation": "limit_val_batches",
    "test": "limit_test_batches",
    "predict": "limit_predict_batches",
}
READ_SPLITS: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("test",),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CheckpointSettings(_Strict):
    """The figure that makes an epoch the best, and the other times to save checkpoints."""

    monitor: Monitor
    every_n_steps: PositiveInt | None
    every_n_minutes: PositiveFloat | None
    keep: NonNegativeInt
    optimizer_state: Literal["all", "last"]
    on_error: Literal["stop", "continue"]


class Interval(_Strict):
    """Values of a search from `low` to `high`, both inclusive; `log`: drawn on a logarithmic scale."""

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


class DecodeSettings(_Strict):
    """The limits in the choice of answers."""

    n_best: PositiveInt
    max_answer_length: PositiveInt


class SweepSettings(_Strict):
    """The jobs of a multirun and what it keeps of them; `n_trials` and the settings below it are for a search."""

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


class Settings(_Strict):
    """The composed configuration. `check_values` checks each group against its `_target_`."""

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

    @field_validator("resume", mode="before")
    @classmethod
    def _resumable(cls, resume: Any) -> Any:
        if not isinstance(resume, str):
            raise PydanticCustomError("resume", "auto, never or a checkpoint")
        return resume


def check_settings(config: Mapping[str, Any]) -> Settings:
    """Checks the settings, without an import of a target. Errors: UserError, one line with the valid choices."""
    settings = validated(Settings, config)
    trainer = settings.trainer
    for keys, (allowed, why) in TRAINER_LIMITS.items():
        for key in keys.split():
            if not (allowed(trainer[key]) if callable(allowed) else trainer[key] in allowed):
                raise UserError(f"trainer.{key}={trainer[key]}: {why}")
    for kind in ("epochs", "steps"):
        least, most = trainer[f"min_{kind}"], trainer[f"max_{kind}"]
        if isinstance(least, int) and isinstance(most, int) and 0 < most < least:
            raise UserError(f"trainer.min_{kind}={least}: more than trainer.max_{kind}={most}, where the schedule ends")
    if trainer["check_val_every_n_epoch"] is None and type(trainer["val_check_interval"]) is not int:
        raise UserError("trainer.check_val_every_n_epoch: null needs a number of steps, trainer.val_check_interval=N")
    if trainer["max_epochs"] in (None, -1) and trainer["max_steps"] in (None, -1):
        raise UserError("trainer.max_epochs: the schedule needs an end; set it or trainer.max_steps")
    if settings.data.get("predictions_file") and settings.stage != "validate":
        raise UserError("data.predictions_file: only stage=validate scores it; add stage=validate")
    return settings


def check_files(settings: Settings) -> None:
    """Looks for the data files before anything slow begins. Errors: UserError for a file that does not exist."""
    data = settings.data
    files = {split: data.get(f"{split}_file") for split in READ_SPLITS[settings.stage]}
    for pattern in filter(None, files.values()):
        find_files(pattern)
    if isinstance(languages := data.get("languages"), Mapping):
        check_stems("data.languages", languages, list(_existing_files(data)))
    if settings.stage == "fit":
        file_weights(data.get("mixture"), files["train"])
    if data.get("name") and any(files.values()) and not (all(files.values()) or data.get("validation_share")):
        line = "data.%s_file: not given: these questions come from %s; for your own files alone add data=local"
        log.warning(line, next(split for split in files if not files[split]), data["name"])


def check_sources(settings: Settings) -> SquadData:
    """The data of a run, not read yet, once their values are checked. Errors: as `Sources.check`."""
    check_files(settings)
    names = inspect.signature(SquadData).parameters.keys() & settings.data.keys()  # a target of its own may have more
    data = SquadData(**{name: settings.data[name] for name in names})
    for split in READ_SPLITS[settings.stage]:
        data.sources.check(split)
    return data


def _existing_files(data: Mapping[str, Any]) -> Iterator[Path]:
    """The data files of all stages, without missing ones."""
    for pattern in filter(None, (data.get(f"{split}_file") for split in ("train", "validation", "test"))):
        with suppress(UserError):
            yield from find_files(pattern)


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, values) of a nested space; its leaves are choices or have a lower bound."""
    for name, child in node.items():
        if isinstance(child, Mapping) and "low" not in child:
            yield from _leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
