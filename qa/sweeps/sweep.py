"""The results of a sweep's jobs: a table, files for other programs, and the best setting's command."""

import csv
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from qa.console import console
from qa.errors import UserError
from qa.processes import SIGNALS
from qa.runs.disk import check_disk, disk_needed, parameter_count
from qa.runs.folder import RunFolder, is_run
from qa.runs.results import Monitor
from qa.runs.results_table import markdown_rows
from qa.storage import new_folder, remove, write_text
from qa.sweeps.engines import ERROR, Job, JobEngine, job_error, run_jobs
from qa.sweeps.job_locks import JobLocks
from qa.sweeps.rows import BEST_KEYS, ROW_COLUMNS, SweepRow, notes, outcome, ranked, ranked_jobs
from qa.sweeps.scripts import SEEDS_FOLDER, best_script, new_seeds_script
from qa.sweeps.tables import Intervals, tables

if TYPE_CHECKING:
    from qa.sweeps.search import Search

JOURNAL = "study.journal"  # of a search
BEST_SH, NEW_SEEDS = "best.sh", "new-seeds.sh"
EVALUATIONS = {"stage=validate", "stage=test", "stage=predict"}  # arguments of jobs that train nothing


def is_sweep(folder: Path) -> bool:
    """Whether a sweep wrote its table into the folder."""
    return (folder / "sweep.json").exists()


def finished_jobs(folder: Path) -> list[Path]:
    """The folders of a sweep's finished jobs; a folder that holds no sweep is a run's. Errors: UserError for none."""
    if not is_sweep(folder):
        return [folder]
    jobs = [folder / row.folder for row in Sweep(folder).rows() if row.status == "finished"]
    if not jobs:
        raise UserError(f"{folder}: no job of this sweep is finished; the same command resumes it")
    return jobs


class Sweep:
    """The rows of a sweep, kept in `sweep.json`, `sweep.csv` and `sweep.md` of its folder.

    Several processes may share a folder: each change is made to the file as it is at that moment, under a lock.
    """

    def __init__(self, folder: Path, monitor: Monitor = "val_loss", keep_best: int | None = None) -> None:
        """`keep_best`: number of jobs that keep checkpoints and model, the best by `monitor`; None: all."""
        self.folder, self.monitor, self.keep_best = folder, monitor, keep_best
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{folder}: not a folder; give another hydra.sweep.dir") from None
        self.lock, self._jobs = FileLock(folder / ".lock"), JobLocks(folder)

    def rows(self) -> list[SweepRow]:
        """The rows by job number. Errors: UserError for a damaged file."""
        path = self.folder / "sweep.json"
        try:
            return TypeAdapter(list[SweepRow]).validate_json(path.read_bytes()) if path.exists() else []
        except ValidationError:
            raise UserError(
                f"{path}: damaged; remove it, and the same sweep in the same order finds its jobs again"
            ) from None

    def move_aside(self) -> None:
        """Moves an earlier sweep with its jobs' folders to `FOLDER.old-DATE` beside it.

        Errors: UserError where a job runs.
        """
        with self.lock:
            running = [row.job for row in self.rows() if not self._jobs.take(row.job)]
            for row in self.rows():
                self._jobs.release(row.job)
        if running:
            raise UserError(
                f"{self.folder}: job {running[0]} runs in another process; wait for its end, or give another"
                " hydra.sweep.dir"
            )
        folder = self.folder.resolve()  # a link may lead to another disk
        jobs = [folder / row.folder for row in self.rows()]
        tables = ("sweep.json", "sweep.csv", "sweep.md", "sweep.html", BEST_SH, NEW_SEEDS, SEEDS_FOLDER, JOURNAL)
        paths = [*jobs, *(folder / name for name in tables)]
        if there := [path for path in paths if path.exists() and path.resolve().is_relative_to(folder)]:
            aside = new_folder(folder.with_name(f"{folder.name}.old-{datetime.now():%Y-%m-%dT%H-%M-%S}"))
            for path in there:
                target = aside / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            console.print(f"what was in {self.folder} is now in {aside}")

    def take(self, settings: Mapping[str, Any]) -> int | None:
        """The number of a job that this process is to run; None where it is finished, or another process runs it.

        The same job of an earlier start of the sweep keeps its number.
        """
        with self.lock:
            rows = self.rows()
            # as JSON: for lightning's limits 1 is a batch, and 1.0 is all of them
            wanted = json.dumps(settings, sort_keys=True)
            row = next((row for row in rows if json.dumps(row.settings, sort_keys=True) == wanted), None)
            number = row.job if row else max((row.job for row in rows), default=-1) + 1
            if row and row.status == "finished" and RunFolder(self.folder / row.folder).results.exists():
                return None
            if not self._jobs.take(number):
                console.print(f"job {number}: runs in another process")
                return None
            if row is None:  # so no other process takes the number for other settings
                self._put(SweepRow(job=number, settings=dict(settings), folder=str(number)))
            return number

    def _began(self, job: Job) -> SweepRow:
        """Records a started job: one that is killed together with the sweep stays so in the files."""
        with self.lock:
            folder = os.path.relpath(job.folder, self.folder)
            if folder.startswith(".."):
                raise UserError(f"{job.folder}: not in {self.folder}, the sweep's; give another hydra.sweep.subdir")
            row = SweepRow(job=job.number, settings={**job.settings}, folder=folder, arguments=[*job.arguments])
            if before := self._row(job.number):
                row.minutes = before.minutes
            self._put(row)
        return row

    def run(self, jobs: Iterator[Job], engine: JobEngine, search: "Search | None" = None) -> int:
        """Runs the jobs and writes each row as it changes. Returns the status of a signal or of the worst job."""
        begun: dict[int, float] = {}
        codes = [0]

        def begin(job: Job) -> None:
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / ERROR).unlink(missing_ok=True)
            row = self._began(job)
            begun[job.number] = time.monotonic()
            console.print(f"job {job.number}: {row.overrides or 'as it is'} → {job.folder}")

        def end(job: Job, status: int) -> None:
            minutes = (time.monotonic() - begun[job.number]) / 60
            row = self._ended(job, status, minutes, pruned=search is not None and search.pruned(job.number))
            codes.append(row.status_code)
            console.print(f"job {job.number}: {outcome(row)}")
            if search:
                search.tell(row)

        signum = run_jobs(jobs, engine, begin, end)
        return 128 + signum if signum else max(codes)

    def _ended(self, job: Job, status: int, minutes: float, pruned: bool) -> SweepRow:
        """Records the end of a job, and removes files that are not kept."""
        with self.lock:
            row = self._row(job.number)
            assert row is not None
            row.minutes += minutes
            if status == 0:
                row.status = "pruned" if pruned else "finished"
                results = json.loads(RunFolder(job.folder).results.read_text(encoding="utf-8"))
                best = results["best"] or {}
                row.minutes = max(row.minutes, (results.get("seconds") or 0) / 60)  # also of starts that were killed
                row = row.model_copy(update={name: best.get(name) for name in {*BEST_KEYS, self.monitor}})
            elif (signum := -status if status < 0 else status - 128) in SIGNALS:
                row.status, row.status_code = "interrupted", 128 + signum
            else:
                row.status, row.error, row.status_code = "failed", job_error(job, status), max(status, 1)
                print(f"ERROR: job {row.job} ({row.overrides}): {row.error}", file=sys.stderr)
            self._put(row)
            self._keep()
            self._jobs.release(row.job)
        return row

    def best(self) -> list[SweepRow]:
        """The finished jobs that have a figure, the best first."""
        return ranked_jobs(self.rows(), self.monitor)

    def next_steps(self) -> list[str]:
        """The commands and the page for after the sweep, a line each."""
        lines, folder = [], shlex.quote(str(self.folder))
        if (self.folder / BEST_SH).exists():
            lines.append(f"the best setting again:  sh {folder}/{BEST_SH}")
        if (self.folder / NEW_SEEDS).exists():
            lines.append(f"the two best, new seeds: sh {folder}/{NEW_SEEDS}")
        if len(self.best()) > 1:
            lines.append(f"better, or chance?       python -m qa.compare {folder}")
        if next(self.folder.glob("*/wandb/offline-run-*"), None):
            lines.append(f"all runs to W&B:         wandb sync {folder}/*/wandb/offline-run-*")
        return [*lines, f"open {folder}/sweep.html"]

    def show(self, out: Console) -> None:
        """Prints the tables and their notes."""
        rows = self.rows()
        for title, head, lines in tables(rows, self.monitor):
            table = Table(*head, box=None, header_style="bold", title=title, title_justify="left")
            for line in lines:
                table.add_row(*line)
            out.print(table)
        for note in notes(rows, self.monitor):
            out.print(note)

    def _row(self, number: int) -> SweepRow | None:
        return next((row for row in self.rows() if row.job == number), None)

    def _put(self, row: SweepRow) -> None:
        rows = sorted([row, *(other for other in self.rows() if other.job != row.job)], key=lambda row: row.job)
        table = io.StringIO()
        writer = csv.DictWriter(table, ROW_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row.model_dump(), "overrides": row.overrides} for row in rows)
        write_text(self.folder / "sweep.json", json.dumps([row.model_dump() for row in rows], indent=1))
        write_text(self.folder / "sweep.csv", table.getvalue())
        self.write_markdown()

    def write_markdown(self, intervals: Intervals | None = None) -> None:
        rows, parts = self.rows(), []
        for title, head, lines in tables(rows, self.monitor, intervals):
            parts += [title, markdown_rows(head, lines)]
        write_text(self.folder / "sweep.md", "\n\n".join(filter(None, [*parts, *notes(rows, self.monitor)])) + "\n")

    def _keep(self) -> None:
        """Writes the best settings' commands; removes checkpoints and models of jobs that are not kept."""
        rows = self.rows()
        settings = ranked(rows, self.monitor)
        if settings and settings[0].rows[0].arguments:
            write_text(self.folder / BEST_SH, best_script(settings[0], f"the best of {self.folder} by {self.monitor}"))
            if len(settings) > 1 and EVALUATIONS.isdisjoint(settings[0].rows[0].arguments):
                write_text(self.folder / NEW_SEEDS, new_seeds_script(settings[:2], rows, str(self.folder)))
        pruned = [other for other in rows if other.status == "pruned"]
        for other in [*self.best()[self.keep_best :], *pruned] if self.keep_best else []:
            folder = self.folder / other.folder
            if folder.resolve().is_relative_to(self.folder.resolve()) and is_run(folder):  # the file may be another's
                remove(RunFolder(folder).checkpoints)
                remove(RunFolder(folder).model)


def report_disk(pretrained: str, checkpoint: Mapping[str, Any], folder: Path, count: int) -> None:
    """Reports the disk that `count` runs may take, and warns where that is too much; silent for an unknown model."""
    if not (parameters := parameter_count(pretrained)):
        return  # the first job brings it
    each = disk_needed(parameters, checkpoint["keep"], checkpoint["optimizer_state"] == "last")
    console.print(f"{count} jobs: {check_disk(folder, each * count)}")
