"""Devices: whether they can do what the settings ask, before any data is read; and their random generators."""

import torch

from qa.config.settings import Settings
from qa.errors import UserError


def check_driver(settings: Settings) -> None:
    """Errors: UserError for GPUs that are there, but not for this torch: lightning would find out after the data."""
    wanted = settings.trainer["accelerator"]
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.device_count() and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={wanted}: torch {torch.__version__} cannot use this machine's GPUs; update their"
            " driver, install a torch for it, or take trainer.accelerator=cpu"
        )


def check_attention(settings: Settings, device: torch.device) -> None:
    """Errors: UserError for flash attention where its kernels do not run: they take half precision on a GPU alone."""
    precision = str(settings.trainer["precision"])
    half = device.type == "cuda" and precision.startswith(("16", "bf16"))
    if settings.model.get("attention") == "flash" and not half:
        raise UserError(
            f"model.attention=flash: computes in half precision on GPUs alone, this is {device.type} in {precision};"
            " take trainer.precision=bf16-mixed on a GPU, or model.attention=auto"
        )


def seed_device(seed: int, device: torch.device) -> None:
    """Seeds the generators in use alone: `torch.manual_seed` takes 1 ms for all kinds of devices."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
