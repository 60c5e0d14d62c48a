"""`metrics.csv`: a line for every step and every evaluation of a run."""

import csv
from collections.abc import Iterator
from pathlib import Path

from qa.storage import atomic_write

STEP = ["loss", "learning_rate", "gradient_norm", "windows_per_second", "tokens_per_second", "memory_gib"]
EVALUATION = ["epoch", "train_loss", "val_loss", "exact_match", "f1"]
CSV_COLUMNS = ["step", *STEP, *EVALUATION]


def read_metrics(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and figures of each line; nothing where there is no file. A figure that was not measured is missing."""
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                yield step, {name: float(value) for name, value in row.items() if value}


def forget_after(path: Path, step: int, evaluated: bool) -> None:
    """Removes the lines that a checkpoint after `step` steps does not know: later steps, torn lines, and the
    evaluation at `step` unless `evaluated`."""
    if not path.exists() or not path.stat().st_size:  # a full disk leaves an empty one
        return
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    loss = header.index("loss")
    known = [
        row
        for row in rows
        if len(row) == len(header) and (int(row[0]) < step or (int(row[0]) == step and (row[loss] or evaluated)))
    ]
    with atomic_write(path) as file:
        csv.writer(file).writerows([header, *known])
