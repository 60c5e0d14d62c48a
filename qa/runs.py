"""The run folder: what it holds, whose it is, and its checkpoints."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from qa import UserError

CONTENTS = {
    "results.json": "every epoch's figures, the best epoch, counts and speeds",
    "results.md": "the table as Markdown",
    "predictions.json": "{id: answer}, as the official evaluation script takes it",
    "nbest.json": "the best candidates of every question, with probability and place in the context",
    "model": "weights, config, tokenizer and card, for AutoModelForQuestionAnswering.from_pretrained",
    "checkpoints": "best.ckpt and last.ckpt",
    "metrics": "each step's loss, learning rate, gradient norm, speed and memory",
    "train.log": "what was said, with the time",
}
MAY_DIFFER = {"resume", "logger", "callbacks", "hydra"}  # between a run and the same run gone on


def different_keys(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The dotted keys whose values differ between two configurations, but for those that may."""
    one, other = (dotted({k: v for k, v in node.items() if k not in MAY_DIFFER}) for node in (held, wanted))
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def dotted(node: Any, prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of the leaves of nested mappings."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {k: v for name, child in node.items() for k, v in dotted(child, f"{prefix}.{name}".lstrip(".")).items()}


def clear(folder: Path) -> None:
    """Removes what an earlier run left in the folder, so that nothing of it looks like the new run's."""
    for name in (*CONTENTS, "model.tmp"):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def find_checkpoint(resume: str, folder: Path, fitting: bool) -> Path | None:
    """The checkpoint to go on from, or to evaluate; None where there is none to take.

    `resume`: auto (the last one in `folder`, when fitting), never, or a path. Errors: UserError for a path without one.
    """
    if resume not in ("auto", "never"):
        if not Path(resume).is_file():
            raise UserError(f"resume={resume}: no such checkpoint; give a .ckpt file, auto or never")
        return Path(resume)
    last = folder / "checkpoints" / "last.ckpt"
    return last if fitting and resume == "auto" and last.exists() else None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, memory-mapped. Errors: UserError for a file that is none of ours or is damaged."""
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: not a checkpoint that can be read ({reason}); give another") from None
    if "pretrained" not in checkpoint:
        raise UserError(f"{path}: a checkpoint of another program; give one of a run's checkpoints/")
    return checkpoint
