"""What a finished run shows in a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from qa.console import console
from qa.data.examples import Example
from qa.evaluation.answers import NBestAnswer
from qa.runs.identity import other_code
from qa.runs.results import EvaluatedPart, Row, read_results
from qa.runs.results_table import COLUMNS, cells


def results_table(rows: Sequence[Row], best: Row | None, part: EvaluatedPart | None = None) -> Table:
    """The table for a terminal; the best row is marked, and what is not of all questions is said below."""
    caption = (part and part.note()) or None
    table = Table(*COLUMNS, "", box=None, header_style="bold", caption=caption, caption_justify="left")
    for column in table.columns[:-1]:
        column.justify = "right"
    for row in rows:
        mark = row == best and len(rows) > 1
        table.add_row(*cells(row), "← best" if mark else "", style="bold" if mark else "")
    return table


def show_finished(folder: Path, wanted: Mapping[str, Any], logger_asked: bool = False) -> None:
    """Shows the finished run in a folder, and writes its page where that is missing.

    `wanted`: the identity of the run that was asked for; `logger_asked`: whether a logger was named; it gets nothing.
    """
    results = read_results(folder)
    console.print(f"{folder} is finished; resume=never moves it aside and runs it anew")
    if code := other_code(results.identity, wanted):
        console.print(f"it was made by {code}")
    console.print(results_table(results.epochs, results.best, results.evaluated))
    if results.chosen:
        console.print(results.chosen)
    if logger_asked:
        console.print("logger: nothing more is logged of a finished run")
    if (folder / "questions.parquet").exists() and results.about and not (folder / "report.html").exists():
        from qa.review.run_page import try_page  # needs NumPy and SciPy, which most runs shown do not

        try_page(folder, results)


def answered(example: Example, best: Sequence[NBestAnswer], width: int = 160) -> Text:
    """A question, its answer marked in the part of the context around it, and the reference where that differs."""
    text = Text(f"\nQ  {example.question}\n", style="bold")
    if not best:
        return text.append("   no answer", style="red")
    answer = best[0]
    begin = max(0, answer.start - width // 2)
    end = min(len(example.context), answer.end + width // 2)
    shown = Text("   " + ("…" if begin else ""), style="not bold")
    shown.append(example.context[begin : answer.start])
    shown.append("[" + answer.text + "]", style="bold green")
    shown.append(example.context[answer.end : end] + ("…" if end < len(example.context) else ""))
    shown.append(f"   (probability {answer.probability:.2f})", style="dim")
    if example.answers and answer.text not in {reference.text for reference in example.answers}:
        shown.append(f"\n   expected: {example.answers[0].text}", style="red")
    return text.append(shown)
