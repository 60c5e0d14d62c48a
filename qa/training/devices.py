"""Devices: checks against the settings, before any data is read; their names and random generators."""

import math
import platform
from collections.abc import Iterable
from statistics import median
from typing import Any

import torch
from lightning import Trainer

from qa.config.settings import Settings
from qa.errors import UserError
from qa.processes import cores


def check_driver(settings: Settings) -> None:
    """Errors: UserError for GPUs that are there, but not for this torch: lightning would find out after the data."""
    wanted = settings.trainer["accelerator"]
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.device_count() and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={wanted}: torch {torch.__version__} cannot use this machine's GPUs; update their"
            " driver, install a torch for it, or take trainer.accelerator=cpu"
        )


def check_precision(settings: Settings, device: torch.device) -> None:
    """Errors: UserError for float16 that would be bfloat16, and for flash attention where its kernels do not run."""
    precision = str(settings.trainer["precision"])
    if device.type == "cpu" and precision in ("16-mixed", "16"):  # lightning would take bf16-mixed
        raise UserError(f"trainer.precision={precision}: GPUs alone compute in it; take trainer.precision=bf16-mixed")
    half = device.type == "cuda" and precision.startswith(("16", "bf16"))
    if settings.model.get("attention") == "flash" and not half:
        raise UserError(
            f"model.attention=flash: computes in half precision on GPUs alone, this is {device.type} in {precision};"
            " take trainer.precision=bf16-mixed on a GPU, or model.attention=auto"
        )


def lost_updates(parameters: Iterable[torch.Tensor], precision: str, rate: float) -> str:
    """The reason that most updates of weights in half precision would be rounded away; empty where they would not.

    A step of Adam moves a weight by about the learning rate; one by less than half a unit of the weight is lost.
    """
    kinds = {"bf16-true": torch.bfloat16, "16-true": torch.float16}
    if precision not in kinds:
        return ""
    usual = median(p.detach().abs().mean().item() for p in parameters if p.ndim > 1)
    unit = torch.finfo(kinds[precision]).eps * 2 ** math.floor(math.log2(usual or 1))
    if rate >= unit / 2:
        return ""
    return (
        f"weights of about {usual:.2g} change in units of {unit:.1g}, so that most updates by optimizer.lr={rate:g} are"
        f" rounded away; take trainer.precision={precision.partition('-')[0]}-mixed"
    )


def unused_options(strategy: Any) -> str:
    """The reason that options of DDP have no effect; empty where `trainer.strategy` has none."""
    has_options = "ddp_" in str(strategy) or "DDPStrategy" in str(strategy)
    return "DDP's options have no effect: gradients are added up after a step's passes" if has_options else ""


def devices_in_words(trainer: Trainer, matmul_precision: str, eager: str = "") -> str:
    """The devices of a run and their arithmetic, for people; on a GPU also a faster one.

    `eager`: why the steps are no CUDA graphs.
    """
    device = trainer.strategy.root_device
    ranks = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    text = f"{ranks}{device.type}, precision {trainer.precision}"
    if device.type == "cuda" and trainer.precision == "32-true":
        text += f", matmul_precision {matmul_precision}; trainer.precision=bf16-mixed is faster"
    if device.type == "cuda" and eager:
        text += f"; steps go kernel by kernel because of {eager}: CUDA graphs are faster"
    if device.type == "cpu" and trainer.num_devices > cores():
        text += f"; they share {cores()} cores: fewer trainer.devices are faster"
    return text


def hardware(device: torch.device) -> str:
    """The name of a device, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"


def seed_device(seed: int, device: torch.device) -> None:
    """Seeds only the generators in use: `torch.manual_seed` takes 1 ms for all kinds of devices."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
