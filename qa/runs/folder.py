"""The run folder: its paths, its owner, and its lock."""

import fcntl
import json
import os
import platform
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from qa.errors import UserError
from qa.storage import new_folder

PRUNED = "pruned"  # a setting of runs that their search ended early
OURS = {"stage", "data", "model", "decode", "nonfinite"}  # keys of a run's composed configuration


class RunFolder:
    """The paths of all that a run writes into its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results.json"  # every epoch's figures, the best epoch, counts and speeds
        self.table = path / "results.md"
        self.predictions = path / "predictions.json"  # {id: answer}, as the official evaluation script takes it
        self.null_odds = path / "null_odds.json"  # of SQuAD v2: {id: null score − score of the best span}
        self.candidates = path / "nbest.json"  # of every question, with probability and place in the context
        self.questions = path / "questions.parquet"  # a row for every question, for pandas
        self.skipped = path / "skipped.jsonl"
        self.repairs = path / "repairs.jsonl"
        self.page = path / "report.html"
        self.curves = path / "curves.png"  # losses, EM and F1
        self.curves_svg = path / "curves.svg"
        self.model = path / "model"  # for AutoModelForQuestionAnswering.from_pretrained
        self.checkpoints = path / "checkpoints"
        self.wandb = path / "wandb"  # where `wandb sync` takes it from; the run's id
        self.tensorboard = path / "tensorboard"
        self.metrics = path / "metrics.csv"  # each step's loss, learning rate, gradient norm, speed and memory
        self.profile = path / "profile"  # of trainer.profiler
        self.interrupted = path / "interrupted.txt"  # when and by which signal the run ended
        self.log = path / "train.log"
        self.contents: list[Path] = [each for each in vars(self).values() if each != path]
        self.hydra = path / ".hydra"  # the composed configuration
        self.lock = path / ".run.lock"
        self.last, self.best = self.checkpoints / "last.ckpt", self.checkpoints / "best.ckpt"

    @property
    def of_best_epoch(self) -> tuple[Path, Path, Path]:
        """The files that a fit writes of its best epoch, beside `best`."""
        return self.predictions, self.candidates, self.questions


def held_identity(folder: Path) -> dict[str, Any] | None:
    """The identity of the finished run in a folder; None without one. Errors: UserError for another program's."""
    path = RunFolder(folder).results
    if not path.exists():
        return None
    try:
        identity: dict[str, Any] = json.loads(path.read_bytes())["identity"]
        return {name: identity[name] for name in ("settings", "inputs", "code", "versions")}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: does not record what made it, an earlier version's or another program's; give another"
            " hydra.run.dir"
        ) from None


def is_run(folder: Path) -> bool:
    """Whether a run of this program wrote into the folder, finished or not."""
    config = RunFolder(folder).hydra / "config.yaml"
    try:
        if config.exists() and OURS <= set(yaml.safe_load(config.read_text(encoding="utf-8"))):
            return True
        return held_identity(folder) is not None
    except (OSError, ValueError, TypeError, yaml.YAMLError, UserError):  # another program's file
        return False


def foreign_contents(folder: Path) -> list[str]:
    """The files that a run would overwrite in a folder that is not a run's."""
    run = RunFolder(folder)
    logs = (run.log, run.interrupted)  # of a run that ended before it wrote anything
    return [] if is_run(folder) else [path.name for path in run.contents if path not in logs and path.exists()]


def move_aside(folder: Path) -> Path | None:
    """Moves what an earlier run left into `FOLDER.old-DATE` beside it; None where it left nothing but a log.

    Errors: UserError where it cannot be moved; it is left as it was.
    """
    folder = folder.resolve()  # a link may lead to another disk
    run = RunFolder(folder)
    paths = [path for path in (*run.contents, run.hydra) if os.path.lexists(path)]
    if {*paths} <= {run.log, run.hydra, run.interrupted}:
        return None
    aside = new_folder(folder.with_name(f"{folder.name}.old-{datetime.now():%Y-%m-%dT%H-%M-%S}"))
    try:
        for path in paths:
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
    descriptor = os.open(RunFolder(folder).lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
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
