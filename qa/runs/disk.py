"""The room that a run needs on the disk."""

import logging
import math
import shutil
from pathlib import Path

from rich.filesize import decimal
from safetensors import safe_open

from qa.hub import local_folder

log = logging.getLogger(__name__)

STATE = 3  # a checkpoint's tensors for every parameter: the weight and Adam's two moments


def parameter_count(pretrained: str) -> int | None:
    """Parameters in a model's safetensors, from their headers alone; None where there is no file to look into.

    `pretrained`: a folder, or a hub name, which is looked up in the hub's cache.
    """
    folder = local_folder(pretrained)
    count = 0
    for path in folder.glob("*.safetensors") if folder else ():
        with safe_open(path, framework="np") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count or None


def disk_needed(parameters: int, keep: int, dropped: bool) -> int:
    """Bytes of a run folder when it is fullest: float32 checkpoints and `model/`, and one checkpoint being written.

    `keep`: earlier checkpoints that stay; `dropped`: whether all but the last go without the optimizer's state.
    """
    whole = 4 * parameters * STATE
    other = 4 * parameters if dropped else whole
    return 2 * whole + (1 + keep) * other + 4 * parameters


def check_disk(folder: Path, needed: int) -> str:
    """The needed and the free room, for people; warns where it is too little."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        remedy = "make room, give another hydra.run.dir, or take checkpoint.keep=0 or checkpoint.optimizer_state=last"
        line = f"%s: %s are free, checkpoints and model may take %s; {remedy}"
        log.warning(line, folder, decimal(free), decimal(needed))
    return f"checkpoints and model take up to {decimal(needed)}, {decimal(free)} are free"
