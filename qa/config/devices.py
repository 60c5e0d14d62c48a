"""`trainer.devices` and `trainer.accelerator`: how many processes they mean on this machine."""

import json
import re
from collections.abc import Mapping
from typing import Any

from qa.errors import UserError


def wanted_devices(trainer: Mapping[str, Any]) -> int:
    """Processes that `trainer.devices` means on this machine. Errors: UserError for devices that it does not have."""
    accelerator, devices = trainer["accelerator"], trainer["devices"]
    if isinstance(devices, str) and re.fullmatch(r"\d+(, *\d+)*", devices):
        devices = json.loads(f"[{devices}]" if "," in devices else devices)
    is_list, is_all = isinstance(devices, list), devices in ("auto", "-1", -1)
    numbers = devices if is_list else [devices]
    if not is_all and not (numbers and all(type(number) is int and number >= (not is_list) for number in numbers)):
        raise UserError(f"trainer.devices={devices}: give a number, a list of GPUs such as [0,2], or auto")
    if not (is_all or is_list) and accelerator in ("auto", "cpu"):
        return int(devices)
    there = gpu_count(accelerator)
    if not there and accelerator not in ("auto", "cpu"):
        raise UserError(f"trainer.accelerator={accelerator}: no GPU here; leave trainer.accelerator out")
    if not there and devices != "auto":
        raise UserError(
            f"trainer.devices={devices}: means GPUs, and there is none; give a number of processes such as 2"
        )
    if is_all:
        return max(there, 1)
    if (max(devices) + 1 if is_list else devices) > there:
        raise UserError(f"trainer.devices={devices}: GPUs here: {there}; give others, or auto for all")
    return len(devices) if is_list else int(devices)


def gpu_count(accelerator: str) -> int:
    """The devices of a kind that lightning would find here; 0 for cpu, and for auto where there is no GPU."""
    if accelerator == "cpu":
        return 0
    import torch

    cuda = torch.cuda.device_count() if accelerator != "mps" else 0
    return cuda or int(accelerator != "cuda" and torch.backends.mps.is_available())
