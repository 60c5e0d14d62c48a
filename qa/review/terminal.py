"""A run in the terminal: its table, the meaning of its figures, some answers."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qa import processes
from qa.console import console
from qa.evaluation.answers import Question
from qa.runs import results_table as tables
from qa.runs.folder import RunFolder
from qa.runs.identity import other_code
from qa.runs.results import EvaluatedPart, Monitor, Row

if TYPE_CHECKING:
    from qa.review.report import RunReport  # needs pyarrow, NumPy and SciPy, which `qa.answer` need not wait for

WIDE = 90  # columns in which the table and the whole mark of its best row have room


def results_table(
    rows: Sequence[Row], best: Row | None, part: EvaluatedPart | None = None, monitor: Monitor | None = None
) -> RenderableType:
    """The table for a terminal. It marks the best row and names its monitor; a note below tells of a part.

    A narrow terminal has the name below, not beside the row. A second table has the figures of SQuAD v2.
    """
    mark = tables.best_mark(monitor)
    notes = [part.note() if part else ""]
    if console.width < WIDE and best in rows and len(rows) > 1:
        mark, _, by = mark.partition(" by ")
        notes.insert(0, by and f"best: by {by}")
    table = _table(tables.HEADINGS, "\n".join(filter(None, notes)) or None)
    v2 = _table(tables.V2_HEADINGS, tables.V2_NOTE)
    table.add_column()
    for row in rows:
        is_best = row == best and len(rows) > 1
        style = "bold" if is_best else ""
        table.add_row(*tables.format_row(row), mark if is_best else "", style=style)
        if row.is_v2:
            v2.add_row(*tables.format_v2_row(row), style=style)
    return Group(table, v2) if v2.row_count else table


def plain_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of rows under their headings, the first column to the left."""
    table = _table(headings, None, rows)
    table.columns[0].justify = "left"
    return table


def _table(headings: Sequence[str], caption: str | None, rows: Iterable[Sequence[str]] = ()) -> Table:
    table = Table(box=None, header_style="bold", caption=caption, caption_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def show_finished(report: "RunReport", wanted: Mapping[str, Any], logger_asked: bool = False) -> None:
    """Shows a finished run, and writes its page where that is missing.

    `wanted`: the identity of the run that was asked for; `logger_asked`: whether a logger was named; it gets nothing.
    """
    run, results = report.run, report.results
    console.print(f"{run.path} is finished; resume=never moves it aside and runs it again")
    if code := other_code(results.identity, wanted):
        console.print(f"it was made by {code}")
    show_report(report)
    if logger_asked:
        console.print("logger: nothing more is logged of a finished run")
    if run.questions.exists() and results.about and not run.page.exists():
        from qa.review.run_page import try_page  # needs Jinja and matplotlib, which most runs shown do not

        try_page(report)
    show_paths(run)


def show_end(report: "RunReport") -> None:
    """Shows a run that has just ended: its figures, five answers, and the paths to open."""
    show_report(report)
    if processes.SWEEP not in os.environ:
        for question in report.samples:
            console.print(question_in_context(question))
    show_paths(report.run)


def show_report(report: "RunReport") -> None:
    """Shows a run's figures and their meaning."""
    results = report.results
    shown: list[RenderableType] = []
    if results.best:
        shown.append(results_table(results.epochs, results.best, results.evaluated, results.monitor))
    if rows := tables.language_rows(results):
        shown.append(_table(tables.LANGUAGE_HEADINGS, tables.LANGUAGE_NOTE, rows))
    shown += [line for line in (report.sentence if results.best else "", *report.remarks) if line]
    for part in shown:
        console.print(part)
    if report.caveat:
        console.print(report.caveat, soft_wrap=True)


def show_paths(run: RunFolder) -> None:
    """Shows the paths of a run folder that a user may open; none in a sweep, which names its own page."""
    if processes.SWEEP in os.environ:
        return
    page, model = (shlex.quote(str(path)) if path.exists() else "" for path in (run.page, run.model))
    lines = [f"\nopen {page}"] if page else []
    lines += [f"{run.model}: the model and its card" if model else f"{run.predictions}: the answers"]
    lines += [f"{run.results}: all figures"]
    lines += [f'ask it: python -m qa.answer {model} --question "…" --context-file FILE'] if model else []
    console.print("\n".join(lines), soft_wrap=True)


def at_words(text: str, start: int, end: int, around: int) -> tuple[int, int]:
    """The part of a text to show: `around` characters beside [start, end), cut between words where it has spaces."""
    first, last = max(0, start - around), min(len(text), end + around)
    begins = (at for at in range(first, start) if at == 0 or text[at - 1].isspace())
    ends = (at for at in range(last, end, -1) if at == len(text) or text[at].isspace())
    return next(begins, first), next(ends, last)


def in_context(context: str, start: int, end: int, width: int = 160) -> Text:
    """An answer, marked, with about `width` characters of its context around it."""
    first, last = at_words(context, start, end, width // 2)
    text = Text(("…" if first else "") + context[first:start])
    text.append("[" + context[start:end] + "]", style="bold green")
    return text.append(context[end:last] + ("…" if last < len(context) else ""))


def question_in_context(question: Question, width: int = 160) -> Text:
    """A question, its answer marked in the context around it, and the reference answer where that differs."""
    text = Text(f"\nQ  {question.question}\n", style="bold")
    shown = Text("   ", style="not bold")
    if question.start is None or question.end is None:
        shown.append(question.shown_prediction, style="bold green" if question.is_unanswerable else "red")
    else:
        shown.append(in_context(question.context, question.start, question.end, width))
    if question.probability is not None:
        shown.append(f"   (probability {question.probability:.2f})", style="dim")
    references = question.shown_references
    if references and question.shown_prediction not in references:
        shown.append(f"\n   reference: {references[0]}", style="red")
    return text.append(shown)
