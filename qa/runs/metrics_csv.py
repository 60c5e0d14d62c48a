"""`metrics.csv`: a line for every step and every evaluation of a run."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from qa.storage import atomic_write

STEP = ["loss", "learning_rate", "gradient_norm", "windows_per_second", "tokens_per_second", "memory_gib"]
EVALUATION = ["epoch", "train_loss", "val_loss", "exact_match", "f1"]
CSV_COLUMNS = ["step", *STEP, *EVALUATION]

Cells = dict[str, str]  # of a line, by the name of their column


def read_lines(path: Path) -> tuple[list[str], list[Cells]]:
    """The names of the columns, and the whole lines, not a torn last one; both empty where there is no file."""
    if not path.exists():
        return [], []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines = [line for line in reader if None not in line and None not in line.values()]
        return list(reader.fieldnames or []), lines


def write_lines(path: Path, columns: Sequence[str], lines: Iterable[Cells]) -> None:
    """Writes the file anew; a cell that a line lacks is empty."""
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)


def read_metrics(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and figures of each line. A figure that was not measured is missing."""
    for line in read_lines(path)[1]:
        yield int(line.pop("step")), {name: float(cell) for name, cell in line.items() if cell}
