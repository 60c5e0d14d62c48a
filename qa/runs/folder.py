"""The run folder: what it holds, whose it is, and its lock."""

import fcntl
import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from qa.errors import UserError
from qa.runs.checkpoints import check_same_run, find_checkpoint, load_checkpoint
from qa.runs.identity import differences, identity
from qa.storage import new_folder

CONTENTS = {
    "results.json": "every epoch's figures, the best epoch, counts and speeds",
    "results.md": "the table as Markdown",
    "predictions.json": "{id: answer}, as the official evaluation script takes it",
    "null_odds.json": "of SQuAD v2: {id: null score − score of the best span}, as the official script takes it",
    "nbest.json": "the best candidates of every question, with probability and place in the context",
    "questions.parquet": "a row for every question: answers, prediction, probability, EM, F1 and loss, for pandas",
    "skipped.jsonl": "records that were skipped: file, record, kind, reason and what was there",
    "repairs.jsonl": "records that were repaired: file, record, kind, what was there and what it became",
    "report.html": "all of it to look at: curves, intervals, kinds of questions, every answer in its context",
    "curves.png": "losses, EM and F1",
    "curves.svg": "the same",
    "model": "weights, config, tokenizer and card, for AutoModelForQuestionAnswering.from_pretrained",
    "checkpoints": "best.ckpt, last.ckpt and checkpoint.keep earlier ones",
    "wandb": "for W&B, where `wandb sync` takes it from; the run's id",
    "tensorboard": "for tensorboard --logdir",
    "metrics.csv": "each step's loss, learning rate, gradient norm, speed and memory",
    "profile": "of trainer.profiler: what took how long",
    "interrupted.txt": "when and by which signal the run ended; removed when it resumes",
    "train.log": "what the run reported, with the time",
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
        if config.exists() and OURS <= set(yaml.safe_load(config.read_text(encoding="utf-8"))):
            return True
        return held_identity(folder) is not None
    except (OSError, ValueError, TypeError, yaml.YAMLError, UserError):  # another program's file
        return False


def check_holds(folder: Path, values: Mapping[str, Any]) -> None:
    """Errors: UserError where the folder holds a run, finished or not, of another configuration.

    `values`: of the configuration, as `identity` takes them.
    """
    held, wanted = held_identity(folder), identity(values, folder)
    if held is None:
        try:
            checkpoint = find_checkpoint("auto", folder, fitting=True)
        except UserError:
            return  # the run itself reports that none of them is whole
        if checkpoint:
            check_same_run(checkpoint, load_checkpoint(checkpoint), wanted, folder)
        return
    if PRUNED in held["settings"]:  # by its search, which is now checking its own jobs
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
    held = [folder / name for name in (*CONTENTS, ".hydra") if os.path.lexists(folder / name)]
    if not {path.name for path in held} - {"train.log", ".hydra", "interrupted.txt"}:
        return None
    aside = new_folder(folder.with_name(f"{folder.name}.old-{datetime.now():%Y-%m-%dT%H-%M-%S}"))
    try:
        for path in held:
            path.rename(aside / path.name)
    except OSError as error:
        for path in aside.iterdir():
            path.rename(folder / path.name)
        aside.rmdir()
        raise UserError(f"{folder}: cannot be moved aside ({error.strerror}); give another hydra.run.dir") from None
    return aside


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
