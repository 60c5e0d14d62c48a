"""`metrics.csv`: a line for every step and every evaluation of a run."""

import csv
from collections.abc import Iterator
from pathlib import Path

STEP = ["loss", "learning_rate", "gradient_norm", "windows_per_second", "tokens_per_second", "memory_gib"]
EVALUATION = ["epoch", "train_loss", "val_loss", "exact_match", "f1"]
CSV_COLUMNS = ["step", *STEP, *EVALUATION]


def read_lines(path: Path) -> Iterator[list[str]]:
    """The cells of each line, first the names of the columns; nothing where there is no file."""
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.reader(file)


def read_metrics(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and figures of each line. A figure that was not measured is missing."""
    lines = read_lines(path)
    _, *names = next(lines, [""])
    for step, *cells in lines:
        yield int(step), {name: float(cell) for name, cell in zip(names, cells, strict=False) if cell}
