"""Checkpoints: found, read, and checked against the run that wants them."""

import functools
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qa.errors import UserError, why_unreadable
from qa.runs.folder import PRUNED, RunFolder, held_identity
from qa.runs.identity import differences, identity, other_code

log = logging.getLogger(__name__)


def find_checkpoint(resume: str, folder: Path, fitting: bool) -> Path | None:
    """The checkpoint to resume from, or to evaluate; None where there is none to take.

    `resume`: auto (the newest in `folder` that is whole, when fitting), never, or a path. A fit that was begun from a
    path and was interrupted resumes from its own newest. Errors: UserError for a path without a checkpoint, and where
    all that `folder` holds are damaged.
    """
    chosen = None if resume in ("auto", "never") else Path(resume)
    if chosen and not chosen.is_file():
        last = RunFolder(chosen).last
        remedy = f"did you mean {last}?" if last.is_file() else "give a .ckpt file, auto or never"
        raise UserError(f"resume={resume}: no such checkpoint; {remedy}")
    if not fitting or resume == "never":
        return chosen
    last, best = RunFolder(folder).last, RunFolder(folder).best
    if chosen and is_own(chosen, folder) and chosen.resolve() != last.resolve():
        raise UserError(f"resume={resume}: is older than {last}; give another hydra.run.dir to resume from it")
    # one that was begun from a path has that run's best from the start
    paths = [path for path in (last, *reversed(step_checkpoints(folder)), *([] if chosen else [best])) if path.exists()]
    for path in paths:
        try:
            if load_checkpoint(path)["optimizer_states"]:
                return path
        except UserError as error:
            log.warning("%s", error)
    if paths:
        raise UserError(
            f"{folder}: none of its checkpoints is whole; give another hydra.run.dir, or resume=never, which moves what"
            " is there aside"
        )
    return chosen


def is_own(checkpoint: Path, folder: Path) -> bool:
    """Whether a checkpoint is one of the folder's own."""
    return checkpoint.parent.resolve() == RunFolder(folder).checkpoints.resolve()


def step_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that a run keeps beside `last` and `best`, by step."""
    paths = RunFolder(folder).checkpoints.glob("step-*.ckpt")
    return sorted(paths, key=lambda path: int(path.stem.removeprefix("step-")))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, memory-mapped. Errors: UserError for a file that is none of ours or is damaged."""
    import torch  # takes a while, and the look at a folder does not need it

    try:
        status = path.stat()
        if damaged := _damaged_part(path.resolve(), status.st_size, status.st_mtime_ns):
            raise UserError(f"{path}: damaged ({damaged}); give another")
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UserError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise UserError(
            f"{path}: not a checkpoint that can be read ({why_unreadable(error, path)}); give another"
        ) from None
    if "pretrained" not in checkpoint:
        raise UserError(f"{path}: a checkpoint of another program; give one of a run's checkpoints/")
    return checkpoint


@functools.cache
def _damaged_part(path: Path, *_: int) -> str | None:
    """The first member of the file with a wrong checksum, which torch does not look at; read once a process."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def as_begun(name: str | None, checkpoint: Mapping[str, Any], role: str) -> str | None:
    """A name on the hub with the commit that the run began with, unless a revision is given: main may have moved."""
    begun = (checkpoint["run"].get("inputs", {}).get(role) or [""])[0]
    return begun if begun.startswith(f"{name}@") and not begun.endswith("@") else name


def check_same_run(path: Path, checkpoint: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Warns of other code. Errors: UserError, with all that differs, where a checkpoint belongs to another run.

    `folder`: of the run that resumes, which may be another one than the checkpoint's.
    """
    recorded, own = checkpoint["run"], is_own(path, folder)
    if "settings" not in recorded:
        raise UserError(f"{path}: does not record what made it, an earlier version's; give another hydra.run.dir")
    differ = differences(recorded, wanted, resuming=True)
    begun, asked = (run["inputs"].get("resume") for run in (recorded, wanted))
    if own and asked and asked != begun:
        differ.append("the checkpoint that it was begun from")
    if differ:
        raise UserError(f"{path}: of another run: {', '.join(differ)}; give another hydra.run.dir")
    if other := other_code(recorded, wanted):
        log.warning("%s: made by %s; the last bits of what follows may differ", path, other)


def check_holds(folder: Path, values: Mapping[str, Any]) -> None:
    """Checks that the folder holds no run, finished or not, of another configuration. Errors: UserError.

    `values`: of the configuration, as `identity` takes them.
    """
    finished, wanted = held_identity(folder), identity(values, folder)
    if finished is None:
        try:
            checkpoint = find_checkpoint("auto", folder, fitting=True)
        except UserError:
            return  # the run itself reports that none of them is whole
        if checkpoint:
            check_same_run(checkpoint, load_checkpoint(checkpoint), wanted, folder)
        return
    if PRUNED in finished["settings"]:  # by its search, which is now checking its own jobs
        wanted["settings"][PRUNED] = True
    if differ := differences(finished, wanted):
        raise UserError(f"{folder}: holds a run of other settings or data: {', '.join(differ)}")
