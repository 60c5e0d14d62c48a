"""Parts of a fit."""

from pathlib import Path
from typing import Any

from qa.runs.results import Monitor
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.history import History


def a_history(
    folder: Path, steps_per_epoch: int = 1, identity: dict[str, Any] | None = None, monitor: Monitor = "val_loss"
) -> History:
    """The history of a run in a folder."""
    made = identity or {"settings": {}, "inputs": {}, "code": None, "versions": {}}
    return History(CheckpointFiles(folder), steps_per_epoch, made, monitor=monitor)
