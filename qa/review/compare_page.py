"""The comparison of runs as a page."""

from collections.abc import Sequence

from qa.review.claims import REAL
from qa.review.compare_tables import CORRECTED, FEW, RECIPE, WEIGHTS, bounds_of, p_of, part_of, spread_of
from qa.review.comparison import Comparison, Fixes
from qa.review.run_page import templates
from qa.review.systems import System
from qa.runs.results_table import counted
from qa.statistics.intervals import TOO_FEW

FIXES_SHOWN = 200  # questions that one system alone answers, on the page


def as_page(report: Comparison, systems: Sequence[System]) -> str:
    """A comparison as HTML, with both answers to the questions that one of two systems alone answers exactly."""
    runs = {system.name: system.runs[0].questions for system in systems}

    def texts(name: str, fix: Fixes) -> tuple[str, ...]:
        one, other = runs[fix.one][name], runs[fix.other][name]
        return one.question, " | ".join(one.shown_references), one.shown_prediction, other.shown_prediction

    template = templates().get_template("compare.html")
    words = {"recipe": RECIPE, "weights": WEIGHTS, "corrected": CORRECTED, "few_note": FEW, "real": REAL}
    forms = {"spread": spread_of, "bounds": bounds_of, "p": p_of, "part": part_of, "counted": counted, "texts": texts}
    return template.render(report=report, shown=FIXES_SHOWN, few=TOO_FEW, **words, **forms)
