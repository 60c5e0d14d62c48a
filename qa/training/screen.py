"""The first screen of a run."""

import platform

import torch
from rich.text import Text

from qa.config.settings import Settings
from qa.console import console
from qa.runs.disk import check_disk, disk_needed
from qa.runs.identity import is_recipe
from qa.tracking.loggers import Wandb
from qa.training.parts import Parts, evaluated_part


def first_screen(parts: Parts) -> None:
    """What is about to happen: model, data, windows, steps, device, precision, output folder."""
    data, trainer, module = parts.data, parts.trainer, parts.module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    head = "its trained span head is kept" if module.trained_head else "a new span head"
    rows = {"model": f"{module.pretrained}, {parameters / 1e6:.1f} M parameters, {head}"}
    for split in parts.splits:
        rows[split] = (
            f"{data.source(split)}: {data.example_count(split):,} questions, {len(data.windows[split]):,} windows"
        )
        if split != "train" and (note := evaluated_part(data, split).note()):
            rows[split] += f"; {note[0].lower()}{note[1:].rstrip('.')}"
    if parts.settings.stage == "fit":
        padding = f"{data.padded_share():.1%} of the tokens padding"
        batches = f"batches of {data.batch_size} windows, {data.batching}, {padding}"
        rows["steps"] = f"{steps_in_words(parts)}; {batches}"
        checkpoints = parts.settings.checkpoint
        needed = disk_needed(parameters, checkpoints.keep, checkpoints.optimizer_state == "last")
        rows["disk"] = check_disk(parts.folder, needed)
    ranks = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    rows["device"] = f"{ranks}{arithmetic(trainer.strategy.root_device, trainer.precision, parts.settings)}"
    rows["output"] = str(parts.folder)
    for logger in trainer.loggers:
        if isinstance(logger, Wandb):
            rows["W&B"] = logger.sends()
    for name, what in rows.items():
        console.print(Text.assemble((f"{name:<12}", "bold"), what))


def steps_in_words(parts: Parts) -> str:
    """Such as "16,665 in 3 epochs", with the steps of the published run where it is that one's recipe."""
    epochs = parts.module.total_steps / parts.history.steps_per_epoch
    text = f"{parts.module.total_steps:,} in {epochs:.3g} {'epoch' if epochs == 1 else 'epochs'}"
    if is_recipe(parts.history.identity):
        text += f" of {parts.history.steps_per_epoch:,} (the published run: 5,555)"
    return text


def arithmetic(device: torch.device, precision: str, settings: Settings) -> str:
    """A device and the arithmetic it does, for people; on a GPU what would be faster."""
    text = f"{device.type}, precision {precision}"
    if device.type == "cuda" and precision == "32-true":
        text += f", matmul_precision {settings.matmul_precision}; trainer.precision=bf16-mixed is faster"
    return text


def hardware(device: torch.device) -> str:
    """What a device is, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
