"""The comparison of runs as a page."""

from collections.abc import Sequence

from qa.review import compare_tables
from qa.review.comparison import Comparison, Fixes
from qa.review.run_page import templates
from qa.review.systems import System

FIXES_SHOWN = 200  # questions that one system alone answers, on the page


def as_page(report: Comparison, systems: Sequence[System]) -> str:
    """A comparison as HTML, with both answers to the questions that one of two systems alone answers exactly."""
    runs = {system.name: system.runs[0].questions for system in systems}

    def texts(name: str, fix: Fixes) -> tuple[str, ...]:
        one, other = runs[fix.one][name], runs[fix.other][name]
        return one.question, " | ".join(one.shown_references), one.shown_prediction, other.shown_prediction

    page = templates().get_template("compare.html")
    return page.render(report=report, tables=compare_tables, texts=texts, shown=FIXES_SHOWN)
