"""`sweep.html`: the review of a sweep in one file: its jobs, what their settings did, and how sure that is.

python -m qa.sweep_page SWEEP
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from qa import UserError
from qa.comparison import LEFT_OUT
from qa.curves import OUTCOMES, as_svg, by_epoch, parallel
from qa.intervals import bounds, clusters, percent, proportion
from qa.page import figure, templates
from qa.report import write_text
from qa.settings import Monitor
from qa.sweep_rows import FORMATS, Setting, SweepRow, ranked
from qa.sweeps import Sweep
from qa.systems import FIGURES, Run, read_run, systems


def write_sweep_page(sweep: Sweep) -> list[str]:
    """Writes `sweep.html` from what the sweep's folder holds at the moment; returns what its figures stand on."""
    rows, best = sweep.rows(), sweep.best()
    runs = {row.job: run for row in rows if (run := _read(sweep.folder / row.folder, row))}
    settings = ranked(rows, sweep.monitor)
    names = list(dict.fromkeys(name for row in rows for name in row.settings))
    drawn = [row for row in reversed(best) if row.job in runs]  # the best one last
    lines = {
        str(row.job): {
            **{name: row.settings.get(name, "–") for name in names},
            **{title: getattr(row, name) for name, title in OUTCOMES.items()},
        }
        for row in drawn
    }
    pruned = [row for row in rows if row.status == "pruned" and row.job in runs]
    curves = {str(row.job): runs[row.job].results.epochs for row in (*pruned, *drawn)}
    stand_on, same = _questions([runs[row.job] for row in drawn])
    page = templates().get_template("sweep.html")
    text = page.render(
        folder=str(sweep.folder),
        command=f"python -m qa.compare {shlex.quote(str(sweep.folder))}",
        settings=names,
        rows=[{**row.model_dump(), **_cells(row, runs.get(row.job))} for row in rows],
        best={row.job for row in settings[0].rows} if settings else set(),
        parallel=as_svg(parallel(lines)) if len(lines) > 1 else "",
        curves=as_svg(by_epoch(curves)) if curves else "",
        ranked=[(setting, _intervals(setting, runs) if same else {}) for setting in settings],
        seeds=any(len(setting.rows) > 1 for setting in settings),
        stand_on=stand_on,
        notes=sweep.notes(),
    )
    with sweep.lock:
        write_text(sweep.folder / "sweep.html", text)
    return stand_on


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
    for name in FIGURES:
        _, low, high = figure(list(run.questions.values()), name)
        cells[f"{name}_interval"] = bounds(low, high)
    return {"shown": cells, "page": f"./{quote(row.folder)}/report.html"}


def _questions(runs: Sequence[Run]) -> tuple[list[str], bool]:
    """Which questions the jobs' figures are of, and whether they are the same in each."""
    if not runs:
        return [], False
    try:
        shared = systems(runs)[0].questions
    except UserError as error:
        return [f"WARNING: the jobs' figures cannot be compared: {error}"], False
    counts = sorted(len(run.questions) for run in runs)
    if counts[-1] == len(shared):
        return [f"{len(shared):,} questions, the same in each job, on {clusters(shared)}."], True
    own = f"{counts[0]:,} to {counts[-1]:,} questions, of which {len(shared):,} are in all"
    if counts[-1] - len(shared) > LEFT_OUT * counts[-1]:
        return [f"WARNING: the jobs have {own}: do not compare them; evaluate all on the same questions."], False
    return [f"Each job's figures are of its own {own}."], False


def _intervals(setting: Setting, runs: Mapping[int, Run]) -> dict[str, str]:
    """EM's and F1's intervals over questions and, of several, seeds."""
    own = [runs[row.job] for row in setting.rows if row.job in runs]
    if len(own) < len(setting.rows):
        return {}
    by, found = clusters(list(own[0].questions.values())), {}
    for name in FIGURES:
        scores = np.array([[getattr(question, name) for question in run.questions.values()] for run in own])
        found[name] = bounds(*percent(proportion(scores, by))[1:])
    return found


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
        for line in write_sweep_page(Sweep(arguments.sweep, monitor)):
            print(line)
        print(arguments.sweep / "sweep.html")
    except UserError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
