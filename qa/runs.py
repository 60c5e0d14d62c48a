"""The run folder: what it holds, whose it is, and its checkpoints."""

import fcntl
import functools
import itertools
import json
import logging
import os
import platform
import shutil
import time
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from qa import UserError, why_unreadable
from qa.identity import differences, identity, other_code

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
PRUNED = "pruned"  # a setting of runs that their search ended early
OURS = {"stage", "data", "model", "decode", "nonfinite"}  # that the composed configuration of a run has


def held_identity(folder: Path) -> dict[str, Any] | None:
    """What made the finished run in a folder; None where there is none. Errors: UserError for another program's."""
    path = folder / "results.json"
    if not path.exists():
        return None
    try:
        made: dict[str, Any] = json.loads(path.read_bytes())["identity"]
        return {name: made[name] for name in ("settings", "inputs", "code", "versions")}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: does not record what made it, an earlier version's or another program's; give another"
            " hydra.run.dir"
        ) from None


def is_run(folder: Path) -> bool:
    """Whether a run of this program wrote into the folder, finished or not."""
    config = folder / ".hydra" / "config.yaml"
    try:
        if config.exists() and OURS <= set(OmegaConf.load(config)):
            return True
        return held_identity(folder) is not None
    except Exception:  # YAML and OmegaConf have many for another program's file
        return False


def check_holds(folder: Path, config: Mapping[str, Any]) -> None:
    """Errors: UserError where the folder holds a run, finished or not, of another configuration."""
    held, wanted = held_identity(folder), identity(config, folder)
    if held is None:
        try:
            checkpoint = find_checkpoint("auto", folder, fitting=True)
        except UserError:
            return  # the run itself says that none of them is whole
        if checkpoint:
            check_same_run(checkpoint, load_checkpoint(checkpoint), wanted, folder)
        return
    if PRUNED in held["settings"]:  # by its search, which is the one that asks
        wanted["settings"][PRUNED] = True
    if differ := differences(held, wanted):
        raise UserError(f"{folder}: holds a run of other settings or data: {', '.join(differ)}")


def foreign_contents(folder: Path) -> list[str]:
    """What a run would overwrite in a folder that is not a run's."""
    logs = ("train.log", "interrupted.txt")  # of a run that ended before it wrote anything
    return [] if is_run(folder) else [name for name in CONTENTS if name not in logs and (folder / name).exists()]


def move_aside(folder: Path) -> Path | None:
    """Moves what an earlier run left into `FOLDER.old-DATE` beside it; None where it left nothing but a log.

    Errors: UserError where it cannot be moved; it is left as it was.
    """
    folder = folder.resolve()  # a link may lead to another disk
    held = [folder / name for name in (*CONTENTS, ".hydra", "model.tmp") if os.path.lexists(folder / name)]
    if not {path.name for path in held} - {"train.log", ".hydra", "interrupted.txt"}:
        return None
    aside = unused(folder.with_name(f"{folder.name}.old-{datetime.now():%Y-%m-%dT%H-%M-%S}"))
    aside.mkdir()
    try:
        for path in held:
            path.rename(aside / path.name)
    except OSError as error:
        for path in aside.iterdir():
            path.rename(folder / path.name)
        aside.rmdir()
        raise UserError(f"{folder}: cannot be moved aside ({error.strerror}); give another hydra.run.dir") from None
    return aside


def unused(path: Path) -> Path:
    """The path, or the first of `PATH-2`, `PATH-3` … that nothing has."""
    names = itertools.chain([path], (path.with_name(f"{path.name}-{number}") for number in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def remove(path: Path) -> None:
    """Removes a file, a link or a folder, if there is one; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(folder: Path, patience: float = 5.0) -> int:
    """Takes the folder for this process and those that inherit the descriptor. Errors: UserError where another has it.

    The kernel releases it when the last of them ends, however it ends; `patience`: seconds that this may take. The lock
    is on a file open for writing, which an NFS client turns into a lock that the server knows.
    """
    descriptor = os.open(folder / ".run.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise UserError(
                    f"{folder}: another run is writing into it ({holder}); wait for its end, or give another"
                    " hydra.run.dir"
                ) from None
            time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()} since {datetime.now():%F %T}\n".encode(), 0)
    return descriptor


def find_checkpoint(resume: str, folder: Path, fitting: bool) -> Path | None:
    """The checkpoint to resume from, or to evaluate; None where there is none to take.

    `resume`: auto (the newest in `folder` that is whole, when fitting), never, or a path. A fit that was begun from a
    path and was interrupted resumes from its own newest. Errors: UserError for a path without a checkpoint, and where
    all that `folder` holds are damaged.
    """
    given = None if resume in ("auto", "never") else Path(resume)
    if given and not given.is_file():
        raise UserError(f"resume={resume}: no such checkpoint; give a .ckpt file, auto or never")
    if not fitting or resume == "never":
        return given
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    if given and is_own(given, folder) and given.resolve() != last.resolve():
        raise UserError(f"resume={resume}: is older than {last}; give another hydra.run.dir to resume from it")
    # one that was begun from a path has that run's best from the start
    found = [path for path in (last, *reversed(earlier(folder)), *([] if given else [best])) if path.exists()]
    for path in found:
        try:
            if load_checkpoint(path)["optimizer_states"]:
                return path
        except UserError as error:
            log.warning("%s", error)
    if found:
        raise UserError(
            f"{folder}: none of its checkpoints is whole; give another hydra.run.dir, or resume=never, which moves what"
            " is there aside"
        )
    return given


def is_own(checkpoint: Path, folder: Path) -> bool:
    """Whether a checkpoint is one of the folder's own."""
    return checkpoint.parent.resolve() == (folder / "checkpoints").resolve()


def earlier(folder: Path) -> list[Path]:
    """The checkpoints that a run keeps beside `last` and `best`, by step."""
    found = (folder / "checkpoints").glob("step-*.ckpt")
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))


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
        raise UserError(f"{path}: not a checkpoint that can be read ({why_unreadable(error)}); give another") from None
    if "pretrained" not in checkpoint:
        raise UserError(f"{path}: a checkpoint of another program; give one of a run's checkpoints/")
    return checkpoint


@functools.cache
def _damaged_part(path: Path, *_: int) -> str | None:
    """What of the file does not have its checksum, which torch does not look at; read once a process."""
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
    held = checkpoint["run"]
    if "settings" not in held:
        raise UserError(f"{path}: does not record what made it, an earlier version's; give another hydra.run.dir")
    differ = differences(held, wanted, resuming=True)
    begun, asked = (made["inputs"].get("resume") for made in (held, wanted))
    if is_own(path, folder) and asked and asked != begun:
        differ.append("the checkpoint that it was begun from")
    if differ:
        raise UserError(f"{path}: of another run: {', '.join(differ)}; give another hydra.run.dir")
    if other := other_code(held, wanted):
        log.warning("%s: made by %s; the last bits of what follows may differ", path, other)
