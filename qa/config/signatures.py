"""Signatures of the targets that take seconds to import, so that a wrong value is reported at once.

A test compares each with the one that it stands for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from qa.data.squad_data import SquadData

Precision = Literal[
    "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64",
    "transformer-engine", "transformer-engine-float16",
]  # fmt: skip


def module(
    pretrained: str,
    attention: Literal["auto", "sdpa", "eager", "flash"] = "auto",
    gradient_checkpointing: bool = False,
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None,
) -> None:
    """The arguments that conf/model gives to `qa.QuestionAnsweringModule`."""


def trainer(
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto",
    strategy: Any = "auto",
    devices: list[int] | str | int = "auto",
    num_nodes: int = 1,
    precision: Precision | int | None = None,
    logger: Any = None,
    callbacks: Any = None,
    fast_dev_run: int | bool = False,
    max_epochs: Annotated[int, Field(lt=2**31)] | None = None,
    min_epochs: int | None = None,
    max_steps: int = -1,
    min_steps: int | None = None,
    max_time: str | dict[str, int] | None = None,
    limit_train_batches: int | float | None = None,
    limit_val_batches: int | float | None = None,
    limit_test_batches: int | float | None = None,
    limit_predict_batches: int | float | None = None,
    overfit_batches: int | float = 0.0,
    val_check_interval: int | float | None = None,
    check_val_every_n_epoch: int | None = 1,
    num_sanity_val_steps: int | None = None,
    log_every_n_steps: int | None = None,
    enable_checkpointing: bool | None = None,
    enable_progress_bar: bool | None = None,
    enable_model_summary: bool | None = None,
    accumulate_grad_batches: int = 1,
    gradient_clip_val: Annotated[int | float, Field(ge=0)] | None = None,
    gradient_clip_algorithm: Literal["norm", "value"] | None = None,
    deterministic: bool | Literal["warn"] | None = None,
    benchmark: bool | None = None,
    inference_mode: bool = True,
    use_distributed_sampler: bool = True,
    profiler: Literal["simple", "advanced", "pytorch"] | None = None,
    detect_anomaly: bool = False,
    barebones: bool = False,
    plugins: Any = None,
    sync_batchnorm: bool = False,
    reload_dataloaders_every_n_epochs: int = 0,
    default_root_dir: str | Path | None = None,
    enable_autolog_hparams: bool = True,
    model_registry: str | None = None,
) -> None:
    """`lightning.Trainer`, version 2.6.6."""


@dataclass
class AdamW:
    """`torch.optim.AdamW`, version 2.13.0."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    amsgrad: bool = False
    maximize: bool = False
    foreach: bool | None = None
    capturable: bool = False
    differentiable: bool = False
    fused: bool | None = None


@dataclass
class Adam(AdamW):
    """`torch.optim.Adam`, version 2.13.0."""

    weight_decay: float = 0
    decoupled_weight_decay: bool = False


def scheduler(name: Literal["linear", "cosine", "constant"], warmup_ratio: Annotated[float, Field(ge=0, le=1)]) -> None:
    """The arguments that conf/scheduler gives to `qa.schedule`."""


SIGNATURES: dict[str, Callable[..., Any]] = {
    "qa.SquadDataModule": SquadData.__init__,
    "qa.QuestionAnsweringModule": module,
    "qa.schedule": scheduler,
    "lightning.Trainer": trainer,
    "torch.optim.Adam": Adam,
    "torch.optim.AdamW": AdamW,
}
