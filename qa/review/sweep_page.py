"""`sweep.html`: the review of a sweep in one file: its jobs, the effects of their settings, and their intervals."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from qa.errors import UserError
from qa.review.charts import OUTCOMES, apart, as_svg, by_epoch, colors, parallel
from qa.review.claims import LEFT_OUT
from qa.review.run_page import templates
from qa.review.systems import Run, read_run, systems
from qa.review.verdict import estimates
from qa.runs.results import METRICS
from qa.runs.results_table import counted
from qa.statistics.intervals import bounds, clusters, percent, proportion
from qa.storage import write_text
from qa.sweeps.rows import FORMATS, Setting, SweepRow, grouped, notes, ranked
from qa.sweeps.sweep import Sweep
from qa.sweeps.tables import effects


def write_sweep_page(sweep: Sweep) -> list[str]:
    """Writes `sweep.html`, and `sweep.md` with intervals, from the present rows; returns the basis of its figures."""
    rows, best = sweep.rows(), sweep.best()
    runs = {row.job: run for row in rows if (run := _read(sweep.folder / row.folder, row))}
    settings = ranked(rows, sweep.monitor)
    names = list(dict.fromkeys(name for row in rows for name in row.settings))
    drawn = [row for row in reversed(best) if row.job in runs]  # the best one last
    lines = {
        str(row.job): {
            **{name: row.settings.get(name, "–") for name in names if name != "seed"},  # no setting to choose
            **{title: getattr(row, name) for name, title in OUTCOMES.items()},
        }
        for row in drawn
    }
    pruned = [row for row in rows if row.status == "pruned" and row.job in runs]
    curves = {str(row.job): runs[row.job].results.epochs for row in (*pruned, *drawn)}
    groups = {str(row.job): setting.name for setting in grouped(rows, sweep.monitor) for row in setting.jobs}
    shades = colors({job: groups[job] for job in curves})
    based_on, same = _questions([runs[row.job] for row in drawn])
    intervals = {s.name: by_figure for s in settings if same and (by_figure := _intervals(s, runs))}
    page = templates().get_template("sweep.html")
    text = page.render(
        folder=str(sweep.folder),
        title=sweep.folder.resolve().name,
        about=_about(list(runs.values())),
        command=f"python -m qa.compare {shlex.quote(str(sweep.folder))}",
        settings=names,
        rows=[{**row.model_dump(), **_job(row, runs.get(row.job))} for row in rows],
        best={row.job for row in settings[0].rows} if settings else set(),
        parallel=as_svg(parallel(lines, shades)) if len(lines) > 1 else "",
        curves=apart(by_epoch(curves, shades)) if curves else "",
        ranked=[(setting, intervals.get(setting.name, {})) for setting in settings],
        shades=shades,
        effects=effects(rows),
        seeds=any(len(setting.rows) > 1 or setting.others for setting in settings),
        based_on=based_on,
        notes=notes(rows, sweep.monitor),
    )
    with sweep.lock:
        write_text(sweep.folder / "sweep.html", text)
        sweep.write_markdown(intervals)
    return based_on


def _about(runs: Sequence[Run]) -> dict[str, str]:
    """The head of the page: values that all jobs share; where they differ, each value once."""
    values: dict[str, list[str]] = {}
    for run in runs:
        for name, text in {**run.results.about, "commit": run.results.identity.get("code") or ""}.items():
            values.setdefault(name, []).append(text)
    about = {name: "; ".join(dict.fromkeys(filter(None, texts))) for name, texts in values.items()}
    if commands := [shlex.split(text) for text in values.get("command", [])]:
        shared = [word for word in commands[0] if all(word in words for words in commands)]
        about["command"] = f"{shlex.join(shared)}, and each job's settings"
    if finished := values.get("finished"):
        about["finished"] = max(finished)
    return {name: text for name, text in about.items() if text}


def _read(folder: Path, row: SweepRow) -> Run | None:
    """A job's run, if it is at its end and has answers that can be scored."""
    if row.status in ("finished", "pruned"):
        with suppress(UserError):
            return read_run(folder)
    return None


def _job(row: SweepRow, run: Run | None) -> dict[str, Any]:
    """The job's page, and its figures as text, EM and F1 with their intervals over questions."""
    shown = {name: "" if (v := getattr(row, name)) is None else format(v, form) for name, form in FORMATS.items()}
    if run is None:
        return {"shown": shown}
    questions = list(run.questions.values())
    for name, (_, low, high) in estimates(questions, clusters(questions)).items():
        shown[f"{name}_interval"] = bounds(low, high)
    return {"shown": shown, "page": f"./{quote(row.folder)}/report.html"}


def _questions(runs: Sequence[Run]) -> tuple[list[str], bool]:
    """The questions of the jobs' figures in words, and whether they are the same in each."""
    if not runs:
        return [], False
    try:
        shared = systems(runs)[0].questions
    except UserError as error:
        return [f"WARNING: the jobs' figures cannot be compared: {error}"], False
    counts = sorted(len(run.questions) for run in runs)
    if counts[-1] == len(shared):
        return [f"{counted(len(shared), 'question')}, the same in each job, on {clusters(shared)}."], True
    numbers = f"{counts[0]:,} to {counts[-1]:,} questions, of which {len(shared):,} are in all"
    if counts[-1] - len(shared) > LEFT_OUT * counts[-1]:
        return [f"WARNING: the jobs have {numbers}: do not compare them; evaluate all on the same questions."], False
    return [f"Each job's figures are of its own {numbers}."], False


def _intervals(setting: Setting, runs: Mapping[int, Run]) -> dict[str, str]:
    """The intervals of EM and F1 over questions and, of several, seeds."""
    jobs = [runs[row.job] for row in setting.rows if row.job in runs]
    if len(jobs) < len(setting.rows):
        return {}
    by, intervals = clusters(list(jobs[0].questions.values())), {}
    for name in METRICS:
        scores = np.array([[getattr(question, name) for question in run.questions.values()] for run in jobs])
        intervals[name] = bounds(*percent(proportion(scores, by))[1:])
    return intervals
