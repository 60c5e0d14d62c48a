"""The comparison of runs as a page."""

from collections.abc import Sequence
from typing import Any

from qa.evaluation.answers import Question
from qa.review.compare_tables import CORRECTED, FEW, RECIPE, WEIGHTS, bounds_of, p_of, part_of, spread_of
from qa.review.comparison import REAL
from qa.review.run_page import templates
from qa.review.systems import System
from qa.runs.results_table import counted
from qa.statistics.intervals import TOO_FEW

SIDES = ("only_one", "only_other")
FIXES_SHOWN = 200  # questions that one system alone answers, on the page


def as_page(report: dict[str, Any], systems: Sequence[System]) -> str:
    """A comparison as HTML, with both answers to the questions that one of two systems alone answers exactly."""
    runs = {system.name: system.runs[0].questions for system in systems}
    fixes = [
        {**fix, **{side: [_answer(name, runs[fix["one"]], runs[fix["other"]]) for name in fix[side]] for side in SIDES}}
        for fix in report["fixes"]
    ]
    template = templates().get_template("compare.html")
    words = {"recipe": RECIPE, "weights": WEIGHTS, "corrected": CORRECTED, "few_note": FEW, "real": REAL}
    forms = {"spread": spread_of, "bounds": bounds_of, "p": p_of, "part": part_of, "counted": counted}
    return template.render(report=report, fixes=fixes, shown=FIXES_SHOWN, few=TOO_FEW, **words, **forms)


def _answer(name: str, one: dict[str, Question], other: dict[str, Question]) -> tuple[str, ...]:
    references = " | ".join(one[name].shown_references)
    return one[name].question, references, one[name].shown_prediction, other[name].shown_prediction
