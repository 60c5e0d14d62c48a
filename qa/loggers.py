"""`metrics.csv`: one line for every step and one for every evaluation, also of a run that was interrupted."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

STEP = ["loss", "learning_rate", "gradient_norm", "windows_per_second", "tokens_per_second", "memory_gib"]
EVALUATION = ["epoch", "train_loss", "val_loss", "exact_match", "f1"]


class MetricsFile(Logger):
    """Appends to a CSV file and flushes each line; what is not known stays empty."""

    name = "metrics"
    version = 0

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run folder has them in .hydra/."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["step", *STEP, *EVALUATION])
            if new:
                writer.writeheader()
            writer.writerow({"step": step, **metrics})

    @rank_zero_only
    def go_on(self, step: int, evaluated: bool) -> None:
        """Removes what a checkpoint after `step` steps does not know: later steps, and an evaluation still to come."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        loss = header.index("loss")
        known = [
            row
            for row in rows
            if len(row) == len(header) and (int(row[0]) < step or (int(row[0]) == step and (row[loss] or evaluated)))
        ]
        temporary = self.path.with_name(self.path.name + ".tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *known])
        temporary.replace(self.path)
