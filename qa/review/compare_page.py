"""The comparison of runs as a page and in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from qa.evaluation.answers import Question
from qa.evaluation.intervals import bounds
from qa.evaluation.significance import DRAWS
from qa.review.comparison import REAL
from qa.review.run_page import templates
from qa.review.systems import System
from qa.runs.results import METRICS
from qa.runs.results_table import counted

SIDES = ("only_one", "only_other")
SHOWN = 200  # questions that one system alone answers, on the page
RECIPE = "With other seeds and other questions, by a t-test. p: how often chance alone gives such a difference."
WEIGHTS = (
    "These runs alone, on other questions; other seeds may give another result. p: how often chance alone gives such a"
    f" difference, counted by swapping the answers of both runs for an article or paragraph ({DRAWS:,} times, so that p"
    " is at least {p_least:.4f} before it is corrected)."
)
CORRECTED = "p is corrected for the number of pairs (Holm); the intervals are not."


def as_page(report: dict[str, Any], found: Sequence[System]) -> str:
    """The same as HTML, with the questions that one of two systems alone answers exactly and what both say."""
    runs = {system.name: system.runs[0].questions for system in found}
    fixes = [
        {**fix, **{side: [_answer(name, runs[fix["one"]], runs[fix["other"]]) for name in fix[side]] for side in SIDES}}
        for fix in report["fixes"]
    ]
    template = templates().get_template("compare.html")
    words = {"recipe": RECIPE, "weights": WEIGHTS, "corrected": CORRECTED, "real": REAL}
    forms = {"spread": spread_of, "bounds": _bounds, "p": _p, "counted": counted}
    return template.render(report=report, fixes=fixes, shown=SHOWN, **words, **forms)


def _answer(name: str, one: dict[str, Question], other: dict[str, Question]) -> tuple[str, ...]:
    references = " | ".join(one[name].shown_references)
    return one[name].question, references, one[name].shown_prediction, other[name].shown_prediction


def show(report: dict[str, Any], out: Console) -> None:
    """The tables, for a terminal, below what may be said of each pair."""
    for place, row in enumerate(report["pairs"]):
        out.print(row["claim"]["sentence"], style="" if place else "bold")
    out.print()
    table = Table("system", "seeds", "EM", "95%", "F1", "95%", "loss per question", title="Systems")
    for row in report["systems"]:
        cells = [part for figure in METRICS for part in (spread_of(row[figure]), _bounds(row[figure]))]
        table.add_row(row["name"], ", ".join(map(str, row["seeds"])), *cells, spread_of(row["question_loss"], ".4f"))
    out.print(table)
    for line in report["notes"]:
        out.print(line)
    if report["pairs"]:
        _show_pairs(report, out)
    for name, groups in report["kinds"].items():
        _show_kind(name, groups, out)


def _show_pairs(report: dict[str, Any], out: Console) -> None:
    rows, primary = report["pairs"], report["primary"]
    secondary = rows[0]["secondary"]["figure"]
    if recipes := [row for row in rows if row["recipe"]]:
        table = Table("one", "other", primary, "95%", "p", secondary, "95%", title="Is the recipe better?")
        for row in recipes:
            mark = " *" if row["claim"]["better"] else ""
            cells = f"{row['difference']:+.2f}", _bounds(row["recipe"]), _p(row["recipe"]) + mark
            also = f"{row['secondary']['difference']:+.2f}", _bounds(row["secondary"])
            table.add_row(row["one"], row["other"], *cells, *also)
        out.print(table)
        out.print(f"{RECIPE} * marks p below {REAL}.")
    table = Table("one", "other", primary, "95%", "p", title="These weights alone")
    for row in rows:
        cells = f"{row['difference']:+.2f}", _bounds(row["weights"]), _p(row["weights"])
        table.add_row(row["one"], row["other"], *cells)
    out.print(table)
    out.print(WEIGHTS.format(**rows[0]["weights"]))
    out.print(f"Tested: {report['tested']}. {primary} decides. {CORRECTED}")
    for fix in report["fixes"]:
        one, other = len(fix["only_one"]), len(fix["only_other"])
        out.print(f"{fix['one']} alone answers {counted(one, 'question')} exactly, {fix['other']} alone {other}.")


def _show_kind(name: str, groups: dict[str, list[dict[str, Any]]], out: Console) -> None:
    first = next(iter(groups.values()))
    if len(first) < 2:
        return
    table = Table(name, "questions", *(f"{system} EM / F1" for system in groups))
    for part in first:
        cells = [next(p for p in parts if p["name"] == part["name"]) for parts in groups.values()]
        table.add_row(part["name"], str(part["questions"]), *(f"{p['exact_match']:.1f} / {p['f1']:.1f}" for p in cells))
    out.print(table)


def spread_of(figure: dict[str, Any], form: str = ".2f") -> str:
    """Mean ± standard deviation, as people read it."""
    if figure["mean"] is None:
        return "–"
    return format(figure["mean"], form) + ("" if figure["std"] is None else f" ± {format(figure['std'], form)}")


def _bounds(figure: dict[str, Any]) -> str:
    return bounds(figure["low"], figure["high"])


def _p(test: dict[str, Any]) -> str:
    """The corrected p-value with two or three digits."""
    if test["p_corrected"] is None:
        return "–"
    p = test["p_corrected"]
    return "<0.001" if p < 0.001 else format(p, ".3f" if p < 0.1 else ".2f")
