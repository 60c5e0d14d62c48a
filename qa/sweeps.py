"""What became of the jobs of a sweep: a table, files that other programs read, and the best job's command."""

import csv
import io
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from filelock import FileLock
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.table import Table

from qa import UserError
from qa.hub import go_offline_if_unreachable
from qa.jobs import ANEW, ERROR, Engine, Job, last_words, run_jobs
from qa.launch import SIGNALS
from qa.progress import console
from qa.runs import remove, unused
from qa.settings import Monitor

COLUMNS = ("job", "overrides", "status", "epoch", "val_loss", "exact_match", "f1", "minutes", "error")
FORMATS = {"epoch": ".1f", "val_loss": ".4f", "exact_match": ".2f", "f1": ".2f", "minutes": ".1f"}
FIGURES = ("epoch", "val_loss", "exact_match", "f1")


class SweepRow(BaseModel):
    """One job. The figures are those of its best epoch; `status_code`: of its process."""

    job: int
    settings: dict[str, Any]  # that set it apart from the other jobs
    folder: str  # relative to the sweep's
    arguments: list[str] = []  # of train.py, as Hydra reads them
    status: Literal["started", "finished", "pruned", "interrupted", "failed"] = "started"
    epoch: float | None = None
    val_loss: float | None = None
    exact_match: float | None = None
    f1: float | None = None
    minutes: float = 0.0  # over all starts
    error: str | None = None
    status_code: int = 0

    @property
    def overrides(self) -> str:
        """The settings as people read them."""
        return " ".join(f"{name}={value}" for name, value in self.settings.items())


class Study(Protocol):
    """What proposes the jobs of a search, and wants to know how they end."""

    def pruned(self, number: int) -> bool:
        """Whether a job was cut short."""

    def tell(self, row: SweepRow) -> None:
        """Takes in a job's end."""


class Sweep:
    """The rows of a sweep, kept in `sweep.json`, `sweep.csv` and `sweep.md` of its folder.

    Several processes may share a folder: each change is made to what the file holds at that moment, under a lock.
    """

    def __init__(self, folder: Path, monitor: Monitor = "val_loss", keep_best: int | None = None) -> None:
        """`keep_best`: jobs whose checkpoints and model stay, the best by `monitor`; None: all."""
        self.folder, self.monitor, self.keep_best = folder, monitor, keep_best
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{folder}: not a folder; give another hydra.sweep.dir") from None
        self.lock = FileLock(folder / ".lock")

    def rows(self) -> list[SweepRow]:
        """By job number. Errors: UserError for a damaged file."""
        path = self.folder / "sweep.json"
        try:
            return TypeAdapter(list[SweepRow]).validate_json(path.read_bytes()) if path.exists() else []
        except ValidationError:
            raise UserError(f"{path}: damaged; remove it, the jobs' folders are found again") from None

    def forget(self) -> None:
        """Moves what an earlier start left beside the jobs' folders to `NAME.old-DATE`; the jobs move their own."""
        for name in ("sweep.json", "sweep.csv", "sweep.md", "sweep.html", "best.sh", "study.journal"):
            if (path := self.folder / name).exists():
                path.rename(unused(path.with_name(f"{name}.old-{datetime.now():%Y-%m-%dT%H-%M-%S}")))

    def number(self, settings: Mapping[str, Any]) -> int:
        """That of the same job in an earlier start of the sweep, or the next free one."""
        rows = self.rows()
        known = next((row.job for row in rows if row.settings == settings), None)
        return max((row.job for row in rows), default=-1) + 1 if known is None else known

    def _began(self, job: Job) -> SweepRow:
        """A job that is killed together with the sweep stays in the files as started."""
        with self.lock:
            before = self._row(job.number)
            folder = str(job.folder.relative_to(self.folder))
            arguments = [argument for argument in job.arguments if argument != ANEW]
            row = SweepRow(job=job.number, settings=dict(job.settings), folder=folder, arguments=arguments)
            row.minutes = before.minutes if before else 0.0
            self._put(row)
        return row

    def run(self, jobs: Iterator[Job], engine: Engine, study: "Study | None" = None) -> int:
        """Runs the jobs and writes each row as it changes. Returns the status of a signal or of the worst job."""
        begun: dict[int, float] = {}
        codes = [0]

        def begin(job: Job) -> None:
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / ERROR).unlink(missing_ok=True)
            row = self._began(job)
            begun[job.number] = time.monotonic()
            console.print(f"job {job.number}: {row.overrides or 'as it stands'} → {job.folder}")

        def end(job: Job, status: int) -> None:
            minutes = (time.monotonic() - begun[job.number]) / 60
            row = self._ended(job, status, minutes, pruned=study is not None and study.pruned(job.number))
            codes.append(row.status_code)
            console.print(f"job {job.number}: {said(row)}")
            if study:
                study.tell(row)

        signum = run_jobs(jobs, engine, begin, end)
        return 128 + signum if signum else max(codes)

    def _ended(self, job: Job, status: int, minutes: float, pruned: bool) -> SweepRow:
        """Takes in how a job ended, and removes what is not to be kept."""
        with self.lock:
            row = self._row(job.number)
            assert row is not None
            row.minutes += minutes
            if status == 0:
                row.status = "pruned" if pruned else "finished"
                results = json.loads((job.folder / "results.json").read_text(encoding="utf-8"))
                best = results["best"] or {}
                row.minutes = max(row.minutes, (results.get("seconds") or 0) / 60)  # also of starts that were killed
                row = row.model_copy(update={name: best.get(name) for name in FIGURES})
            elif (signum := -status if status < 0 else status - 128) in SIGNALS:
                row.status, row.status_code = "interrupted", 128 + signum
            else:
                row.status, row.error, row.status_code = "failed", last_words(job, status), max(status, 1)
                print(f"ERROR: job {row.job} ({row.overrides}): {row.error}", file=sys.stderr)
            self._put(row)
            self._keep(job, row)
        return row

    def best(self) -> list[SweepRow]:
        """The finished jobs that have a figure, the best first."""
        sign = 1 if self.monitor == "val_loss" else -1
        found = [row for row in self.rows() if row.status == "finished" and getattr(row, self.monitor) is not None]
        return sorted(found, key=lambda row: (sign * getattr(row, self.monitor), row.job))

    def table(self) -> Table:
        """The rows for a terminal."""
        table = Table(*COLUMNS, box=None, header_style="bold")
        for row in self.rows():
            table.add_row(*cells(row))
        return table

    def _row(self, number: int) -> SweepRow | None:
        return next((row for row in self.rows() if row.job == number), None)

    def _put(self, row: SweepRow) -> None:
        from qa.report import write_text  # imports torch, which not every process of a sweep needs

        rows = sorted([row, *(other for other in self.rows() if other.job != row.job)], key=lambda row: row.job)
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row.model_dump(), "overrides": row.overrides} for row in rows)
        lines = [list(COLUMNS), ["---"] * len(COLUMNS), *map(cells, rows)]
        write_text(self.folder / "sweep.json", json.dumps([row.model_dump() for row in rows], indent=1))
        write_text(self.folder / "sweep.csv", table.getvalue())
        write_text(self.folder / "sweep.md", "".join(f"| {' | '.join(line)} |\n" for line in lines))

    def _keep(self, job: Job, row: SweepRow) -> None:
        """Writes `best.sh` where the job is the best so far; of those that are not to be kept removes what weighs."""
        from qa.report import write_text

        best = self.best()
        if best and best[0].job == row.job:
            again = [word for word in job.arguments if word != ANEW]
            words = shlex.join(["python", "train.py", *again, "hydra.mode=RUN"])
            what = f"job {row.job} of {self.folder}, {row.overrides}: the best by {self.monitor}"
            write_text(self.folder / "best.sh", f'#!/bin/sh\n# {what}\nexec {words} "$@"\n')
        pruned = [other for other in self.rows() if other.status == "pruned"]
        for other in [*best[self.keep_best :], *pruned] if self.keep_best else []:
            for name in ("checkpoints", "model"):
                remove(self.folder / other.folder / name)


def said(row: SweepRow) -> str:
    """How a job ended, on one line."""
    figures = [
        f"{name} {format(getattr(row, name), FORMATS[name])}" for name in FIGURES if getattr(row, name) is not None
    ]
    return ", ".join([row.status, *figures])


def cells(row: SweepRow) -> list[str]:
    """A row as people read it."""
    values = [(getattr(row, name), FORMATS.get(name, "")) for name in COLUMNS]
    return ["" if value is None else format(value, form).replace("|", "\\|") for value, form in values]


def say_disk(pretrained: str, checkpoint: Mapping[str, Any], folder: Path, count: int) -> None:
    """Says what `count` run folders may take, and warns where that is more than is free; silent for a model unseen."""
    if not Path(pretrained).is_dir():
        go_offline_if_unreachable()
    from qa.estimate import check_disk, disk_needed
    from qa.model import parameter_count

    try:
        parameters = parameter_count(pretrained)
    except UserError:
        return  # the first job says why
    each = disk_needed(parameters, checkpoint["keep"], checkpoint["optimizer_state"] == "last")
    console.print(f"{count} jobs: {check_disk(folder, each * count)}")
