"""The run folder: what it holds, whose it is, and its checkpoints."""

import fcntl
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from qa import UserError, why_unreadable

log = logging.getLogger(__name__)

CONTENTS = {
    "results.json": "every epoch's figures, the best epoch, counts and speeds",
    "results.md": "the table as Markdown",
    "predictions.json": "{id: answer}, as the official evaluation script takes it",
    "nbest.json": "the best candidates of every question, with probability and place in the context",
    "questions.parquet": "a row for every question: answers, prediction, probability, EM, F1 and loss, for pandas",
    "report.html": "all of it to look at: curves, intervals, kinds of questions, every answer in its context",
    "curves.png": "losses, EM and F1",
    "curves.svg": "the same",
    "model": "weights, config, tokenizer and card, for AutoModelForQuestionAnswering.from_pretrained",
    "checkpoints": "best.ckpt, last.ckpt and as many more as checkpoint.keep says",
    "wandb": "for W&B, where `wandb sync` takes it from; the run's id",
    "tensorboard": "for tensorboard --logdir",
    "metrics.csv": "each step's loss, learning rate, gradient norm, speed and memory",
    "interrupted.txt": "when and by which signal the run ended; gone once it goes on",
    "train.log": "what was said, with the time",
}
# between a run and the same run gone on
MAY_DIFFER = {
    "resume",
    "push_to_hub",
    "data.cache_dir",
    "data.cache_gib",
    "data.micro_batch_size",
    "data.num_workers",
    "data.train_file",  # their content must be the same, which the checkpoint knows
    "data.validation_file",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.max_epochs",
    "trainer.max_time",
    "trainer.num_nodes",
    "trainer.strategy",
}
GROUPS_MAY_DIFFER = {"logger", "callbacks", "hydra", "checkpoint", "sweep"}


def different_keys(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The dotted keys whose values differ between two configurations, but for those that may."""
    one, other = identifying(held), identifying(wanted)
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def finished(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the folder holds a finished run of these settings."""
    held = folder / ".hydra" / "config.yaml"
    if not (folder / "results.json").exists() or not held.exists():
        return False
    known: Any = OmegaConf.to_container(OmegaConf.load(held))
    return not different_keys(known, config)


def identifying(config: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted key: value} of what a run and the same run gone on have in common."""
    values = dotted({name: node for name, node in config.items() if name not in GROUPS_MAY_DIFFER})
    return {k: v for k, v in values.items() if k not in MAY_DIFFER and not k.startswith("trainer.strategy.")}


def dotted(node: Any, prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of the leaves of nested mappings."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {k: v for name, child in node.items() for k, v in dotted(child, f"{prefix}.{name}".lstrip(".")).items()}


def clear(folder: Path) -> None:
    """Removes what an earlier run left in the folder, so that nothing of it looks like the new run's."""
    for name in (*CONTENTS, "model.tmp"):
        remove(folder / name)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder, if there is one; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(folder: Path, patience: float = 5.0) -> int:
    """Takes the folder for this process and those that inherit the descriptor. Errors: UserError where another has it.

    The kernel gives it free when the last of them ends, however it ends; `patience`: seconds that this may take.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(descriptor)
                raise UserError(
                    f"{folder}: another run is writing into it; wait for its end, or give another hydra.run.dir"
                ) from None
            time.sleep(0.1)


def find_checkpoint(resume: str, folder: Path, fitting: bool) -> Path | None:
    """The checkpoint to go on from, or to evaluate; None where there is none to take.

    `resume`: auto (the newest in `folder` that is whole, when fitting), never, or a path. Errors: UserError for a path
    without one, and where all that `folder` holds are damaged.
    """
    if resume not in ("auto", "never"):
        if not Path(resume).is_file():
            raise UserError(f"resume={resume}: no such checkpoint; give a .ckpt file, auto or never")
        return Path(resume)
    if not fitting or resume == "never":
        return None
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    found = [path for path in (last, *reversed(earlier(folder)), best) if path.exists()]
    for path in found:
        try:
            if load_checkpoint(path)["optimizer_states"]:
                return path
        except UserError as error:
            log.warning("%s", error)
    if found:
        raise UserError(f"{folder}: no whole checkpoint to go on from; resume=never starts anew")
    return None


def earlier(folder: Path) -> list[Path]:
    """The checkpoints that a run keeps beside `last` and `best`, by step."""
    found = (folder / "checkpoints").glob("step-*.ckpt")
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, memory-mapped. Errors: UserError for a file that is none of ours or is damaged."""
    import torch  # takes a while, and the look at a folder does not need it

    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
            if damaged := archive.testzip():
                raise UserError(f"{path}: damaged ({damaged}); give another")
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UserError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise UserError(f"{path}: not a checkpoint that can be read ({why_unreadable(error)}); give another") from None
    if "pretrained" not in checkpoint:
        raise UserError(f"{path}: a checkpoint of another program; give one of a run's checkpoints/")
    return checkpoint


def check_same_run(path: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Errors: UserError, with all that differs, where a checkpoint belongs to another data set, model or seed."""
    differ = [f"{key} ({held.get(key)} there, {wanted[key]} here)" for key in wanted if held.get(key) != wanted[key]]
    if differ:
        raise UserError(f"{path}: of another run: {', '.join(differ)}; give another hydra.run.dir, or resume=never")
