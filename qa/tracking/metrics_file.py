"""The logger that writes `metrics.csv`."""

import csv
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from qa.runs.metrics_csv import CSV_COLUMNS, read_lines, write_lines


class MetricsFile(Logger):
    """Appends to a CSV file; an unknown figure stays empty. A figure without a column adds one.

    The file is kept open and flushed once a second, after each evaluation, and before a checkpoint: a line that is lost
    belongs to a step that is lost too.
    """

    name = "metrics"
    version = 0

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)
        self._file: IO[str] | None = None
        self._flushed = -math.inf

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Writes nothing: the run folder has them in .hydra/."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._file is None or not metrics.keys() <= set(self._writer.fieldnames):
            self._open(metrics)
        self._writer.writerow({"step": step, **metrics})
        if "epoch" in metrics or time.monotonic() - self._flushed > 1:
            self.save()

    def _open(self, names: Iterable[str]) -> None:
        """Opens the file with a column for each of `names`, and writes it again where it lacks one."""
        self.finalize("success")
        header, lines = read_lines(self.path)
        columns = list(dict.fromkeys([*(header or CSV_COLUMNS), *names]))
        if header != columns:
            write_lines(self.path, columns, lines)
        self._file = self.path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, columns)

    @rank_zero_only
    def save(self) -> None:
        if self._file is not None:
            self._file.flush()
            self._flushed = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @rank_zero_only
    def forget_after(self, step: int, evaluated: bool) -> None:
        """Removes the lines that a checkpoint after `step` steps does not know: later steps, torn lines, and the
        evaluation at `step` unless `evaluated`."""
        header, lines = read_lines(self.path)
        if header:  # a full disk leaves an empty file
            kept = [line for line in lines if int(line["step"]) < step + bool(line["loss"] or evaluated)]
            write_lines(self.path, header, kept)
