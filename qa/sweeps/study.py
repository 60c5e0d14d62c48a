"""Optuna's study in a sweep's folder."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna import Study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from qa.errors import UserError
from qa.runs.results import Monitor, Row, sign


def open_study(journal: Path, monitor: Monitor = "val_loss", pruner: Any = None) -> Study:
    """The study that the file keeps, or a new one in it. Several processes may have it open.

    Errors: UserError for a damaged file.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = FileLock(journal.with_name(f".{journal.name}.lock"))  # Optuna's own locks outlive a kill
    with lock:
        # to a last line that a power cut or a full disk left unfinished the next would be glued
        if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)
    backend = JournalFileBackend(str(journal), cast(Any, lock))
    direction = StudyDirection.MINIMIZE if sign(monitor) == 1 else StudyDirection.MAXIMIZE
    try:
        return optuna.create_study(
            storage=JournalStorage(backend), study_name="search", direction=direction,
            pruner=pruner, load_if_exists=True,
        )  # fmt: skip
    except ValueError:
        raise UserError(f"{journal}: damaged; give another hydra.sweep.dir, or sweep.resume=false") from None


def by_share(rows: Sequence[Row], total_steps: int, monitor: Monitor) -> Iterator[tuple[int, float]]:
    """The latest figure of a fit after each percent of its own steps, from its first evaluation to its last.

    Trials of other lengths, or with other evaluations, are so compared at the same share of their schedules.
    """
    figures = ((math.ceil(100 * (row.step or 0) / total_steps), getattr(row, monitor, None)) for row in rows)
    measured = [(percent, value) for percent, value in figures if value is not None]
    ends = [percent for percent, _ in measured[1:]] + [percent + 1 for percent, _ in measured[-1:]]
    for (begin, value), end in zip(measured, ends, strict=True):
        yield from ((percent, value) for percent in range(begin, end))
