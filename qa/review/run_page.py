"""`report.html`: the review of a run in one file, without network, account or server."""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

from qa.errors import first_line
from qa.evaluation.answers import NO_ANSWER
from qa.review.charts import apart, as_png, as_svg, curves, reliability, together
from qa.review.report import RunReport
from qa.review.verdict import HEADLINE
from qa.runs import results_table as tables
from qa.runs.identity import is_recipe
from qa.runs.results import Row
from qa.statistics.breakdown import question_type
from qa.statistics.error_kinds import error_kind, label_doubt
from qa.statistics.intervals import TOO_FEW, bounds
from qa.storage import atomic_write, write_text

log = logging.getLogger(__name__)

PUBLISHED = [  # of bert-base-multilingual-cased on SQuAD v1.1
    Row(epoch=1, step=5555, train_loss=0.9982, val_loss=0.9436),
    Row(epoch=2, step=11110, train_loss=0.7694, val_loss=0.9356),
    Row(epoch=3, step=16665, train_loss=0.5627, val_loss=1.0122),
]
PLACES = [0, 5, 4, 3, 2, 1]  # of HEADINGS: epoch, F1, EM, validation loss; the last two are not on a phone
CANDIDATES = 5  # of each question, that the page shows


def write_page(report: RunReport) -> None:
    """Writes `report.html` and, for a fit, the curves."""
    results, run, page = report.results, report.run, templates().get_template("report.html")
    data, errors = _data(report), {name: _errors(errors) for name, errors in report.errors.items()}
    panels = curves(report.losses, results.epochs) if results.windows.train else []
    text = page.render(
        report=report,
        results=results,
        tables=tables,
        data=data,
        errors=errors,
        curves=apart(panels),
        reliability=apart(reliability(*report.reliability)) if report.reliability else "",
        published=PUBLISHED if is_recipe(results.identity) else [],
        places=PLACES,
        notes=[*filter(None, [results.evaluated and results.evaluated.note()]), *report.remarks],
        headline=HEADLINE,
        bounds=bounds,
        skipped=sum(map(Counter, results.skipped.values()), Counter()),
        few=TOO_FEW,
        breakdowns={
            name: parts
            for name, parts in report.breakdowns.items()
            if len(parts) > 1 and not (name == "language" and results.by_language)
        },
    )
    if panels:
        figure = together(panels)
        write_text(run.curves_svg, as_svg(figure))
        with atomic_write(run.curves, binary=True) as file:
            file.write(as_png(figure))
    write_text(run.page, text)


def try_page(report: RunReport) -> None:
    """Writes the page, or warns: a run is finished without it, and showing the run tries again."""
    try:
        write_page(report)
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        log.warning("%s: not written (%s); the same command tries again", report.run.page, first_line(error))


def templates() -> Environment:
    """The templates of `qa/review/templates`; all values in them are escaped."""
    environment = Environment(loader=PackageLoader("qa.review"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    return environment


def _errors(errors: Mapping[str, Counter[str]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: each kind of error, its count and share, and its count by kind of question."""
    total = sum(errors.values(), Counter())
    names = [name for name, _ in total.most_common()]
    rows = [
        [kind, f"{count.total():,}", f"{count.total() / total.total():.0%}", *(f"{count[name]:,}" for name in names)]
        for kind, count in errors.items()
    ]
    return ["wrong answers", "questions", "share", *names], rows


def _data(report: RunReport) -> dict[str, Any]:
    """The data of the page's table; each context once."""
    contexts: dict[str, int] = {}
    rows = [
        {
            "id": q.id,
            "question": q.question,
            "context": contexts.setdefault(q.context, len(contexts)),
            "gold": [
                [begin, begin + len(text)]
                for begin, text in zip(q.answer_starts, q.answers, strict=True)
                if begin is not None
            ],
            "answers": q.shown_references,
            "prediction": q.shown_prediction,
            "span": None if q.start is None else [q.start, q.end],
            "probability": _short(q.probability),
            "em": q.exact_match,
            "f1": _short(q.f1),
            "loss": _short(q.loss),
            "language": q.language or "",
            "type": question_type(q),
            "error": error_kind(q),
            "doubt": _short(label_doubt(q)),
            "nbest": [
                [answer.text or NO_ANSWER, _short(answer.probability)]
                for answer in report.candidates.get(q.id, [])[:CANDIDATES]
            ],
        }
        for q in report.worst
    ]
    return {"contexts": list(contexts), "questions": rows}


def _short(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, 3)  # NaN is no JSON
