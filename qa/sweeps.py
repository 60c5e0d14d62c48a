"""What became of the jobs of a sweep: a table, and files that other programs read."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.table import Table

from qa.progress import console

COLUMNS = ("job", "overrides", "status", "epoch", "val_loss", "exact_match", "f1", "minutes", "error")
FORMATS = {"epoch": ".1f", "val_loss": ".4f", "exact_match": ".2f", "f1": ".2f", "minutes": ".1f"}


class Sweep(Callback):
    """Keeps `sweep.json`, `sweep.csv` and `sweep.md` in `hydra.sweep.dir` up to date; shows the table at the end."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._begin = 0.0
        self._common: set[str] = set()  # overrides that all jobs share

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._common = set(config.hydra.overrides.task)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A job that is killed together with the sweep stays in the files as started."""
        if config.hydra.mode == RunMode.MULTIRUN:
            self._begin = time.monotonic()
            own = " ".join(word for word in config.hydra.overrides.task if word not in self._common)
            job = {"job": config.hydra.job.num, "overrides": own, "status": "started"}
            self._rows.append({**dict.fromkeys(COLUMNS), **job})
            self._write(Path(config.hydra.sweep.dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """`job_return.return_value`: the job's exit status."""
        if config.hydra.mode == RunMode.MULTIRUN:
            ended = outcome(Path(config.hydra.runtime.output_dir), job_return.return_value)
            self._rows[-1].update(ended, minutes=(time.monotonic() - self._begin) / 60)
            self._write(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        table = Table(*COLUMNS, box=None, header_style="bold")
        for row in self._rows:
            table.add_row(*cells(row))
        console.print(table)
        console.print(f"{config.hydra.sweep.dir}: sweep.json, sweep.csv, sweep.md; the same command with the same")
        console.print(
            "hydra.sweep.dir leaves the finished jobs, goes on with the interrupted ones and starts the others"
        )

    def _write(self, folder: Path) -> None:
        from qa.report import write_text  # imports torch, which a sweep itself does not need

        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS)
        writer.writeheader()
        writer.writerows(self._rows)
        lines = [list(COLUMNS), ["---"] * len(COLUMNS), *map(cells, self._rows)]
        write_text(folder / "sweep.json", json.dumps(self._rows, indent=1))
        write_text(folder / "sweep.csv", table.getvalue())
        write_text(folder / "sweep.md", "".join(f"| {' | '.join(line)} |\n" for line in lines))


def outcome(folder: Path, status: Any) -> dict[str, Any]:
    """The row of a job that ended: its best epoch's figures, or its error."""
    if status == 0 and (folder / "results.json").exists():
        best = json.loads((folder / "results.json").read_text(encoding="utf-8"))["best"] or {}
        return {"status": "finished", **{name: best.get(name) for name in ("epoch", "val_loss", "exact_match", "f1")}}
    log = folder / "train.log"
    said = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    errors = [line.partition("ended: ")[2] for line in said if "ended: " in line]
    return {"status": f"failed ({status})", "error": errors[-1] if errors else "see its log"}


def cells(row: dict[str, Any]) -> list[str]:
    """A row as people read it."""
    return ["" if row[name] is None else format(row[name], FORMATS.get(name, "")) for name in COLUMNS]
