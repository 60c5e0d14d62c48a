"""The logger that writes `metrics.csv`."""

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from qa.runs.metrics_csv import CSV_COLUMNS, forget_after


class MetricsFile(Logger):
    """Appends to a CSV file; what is not known stays empty.

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
        """The run folder has them in .hydra/."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._file is None:
            new = not self.path.exists() or not self.path.stat().st_size
            self._file = self.path.open("a", encoding="utf-8", newline="")
            self._writer = csv.DictWriter(self._file, CSV_COLUMNS)
            if new:
                self._writer.writeheader()
        self._writer.writerow({"step": step, **metrics})
        if "epoch" in metrics or time.monotonic() - self._flushed > 1:
            self.save()

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
        """Before a run resumes at `step`: see `metrics_csv.forget_after`."""
        forget_after(self.path, step, evaluated)
