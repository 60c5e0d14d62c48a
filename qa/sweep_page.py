"""`sweep.html`: the review of a sweep in one file: its jobs, what their settings did, and how sure that is.

python -m qa.sweep_page SWEEP
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qa import UserError
from qa.curves import OUTCOMES, as_svg, by_epoch, parallel
from qa.page import figure, templates
from qa.report import write_text
from qa.settings import Monitor
from qa.sweeps import FORMATS, Sweep, SweepRow
from qa.systems import Run, read_run, summary, systems


def write_sweep_page(sweep: Sweep) -> Path:
    """Writes the page from what the sweep's folder holds at the moment."""
    rows, best = sweep.rows(), sweep.best()
    runs = {row.job: run for row in rows if (run := _read(sweep.folder / row.folder, row))}
    settings = list(dict.fromkeys(name for row in rows for name in row.settings))
    drawn = [row for row in reversed(best) if row.job in runs]  # the best one last
    lines = {
        str(row.job): {
            **{name: row.settings.get(name, "–") for name in settings},
            **{title: getattr(row, name) for name, title in OUTCOMES.items()},
        }
        for row in drawn
    }
    pruned = [row for row in rows if row.status == "pruned" and row.job in runs]
    curves = {str(row.job): runs[row.job].results.epochs for row in (*pruned, *drawn)}
    page = templates().get_template("sweep.html")
    text = page.render(
        folder=str(sweep.folder),
        monitor=OUTCOMES[sweep.monitor],
        settings=settings,
        rows=[{**row.model_dump(), **_cells(row, runs.get(row.job))} for row in rows],
        best=best[0].job if best else None,
        parallel=as_svg(parallel(lines)) if len(lines) > 1 else "",
        curves=as_svg(by_epoch(curves)) if curves else "",
        systems=_systems([run for job, run in runs.items() if str(job) in lines]),
    )
    path = sweep.folder / "sweep.html"
    with sweep.lock:
        write_text(path, text)
    return path


def _read(folder: Path, row: SweepRow) -> Run | None:
    """A job's run, if it is at its end and has answers that can be scored."""
    if row.status not in ("finished", "pruned"):
        return None
    try:
        return read_run(folder)
    except UserError:
        return None


def _cells(row: SweepRow, run: Run | None) -> dict[str, Any]:
    """The job's page, and its figures as text, EM and F1 with their intervals over questions."""
    cells = {name: "" if (v := getattr(row, name)) is None else format(v, form) for name, form in FORMATS.items()}
    if run is None:
        return {"shown": cells}
    for name in ("exact_match", "f1"):
        _, low, high = figure(list(run.questions.values()), name)
        cells[f"{name}_interval"] = f"{low:.2f} to {high:.2f}"
    return {"shown": cells, "page": f"{row.folder}/report.html"}


def _systems(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Mean and spread over seeds, where some jobs differ in their seed alone."""
    try:
        found = systems(runs) if runs else []
    except UserError:
        return []  # jobs on other data have no questions in common
    return [summary(system) for system in found] if len(found) < len(runs) else []


def main() -> int:
    """The exit status: 2 for a folder without a sweep."""
    parser = argparse.ArgumentParser(prog="python -m qa.sweep_page", description="Writes the page of a sweep again.")
    parser.add_argument("sweep", type=Path, help="the folder with its sweep.json")
    parser.add_argument("--monitor", choices=list(OUTCOMES), default="val_loss", help="what makes a job the best")
    arguments = parser.parse_args()
    if not (arguments.sweep / "sweep.json").exists():
        print(f"ERROR: {arguments.sweep}: holds no sweep; give the folder with its sweep.json", file=sys.stderr)
        return 2
    monitor: Monitor = arguments.monitor
    try:
        print(write_sweep_page(Sweep(arguments.sweep, monitor)))
    except UserError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
