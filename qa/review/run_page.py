"""`report.html`: the review of a run in one file, without network, account or server."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from qa.errors import first_line
from qa.evaluation.answers import NO_ANSWER, Question
from qa.evaluation.breakdown import breakdown, kinds, question_type
from qa.evaluation.calibration import outcomes, trust
from qa.evaluation.intervals import TOO_FEW, bounds, clusters
from qa.evaluation.question_table import read_questions
from qa.review.charts import apart, reliability, write_curves
from qa.review.verdict import HEADLINE, figure, remarks
from qa.runs.identity import is_recipe
from qa.runs.predictions import read_answers
from qa.runs.results import Results, Row
from qa.runs.results_table import (
    HEADINGS,
    LANGUAGE_HEADINGS,
    LANGUAGE_NOTE,
    TRUST_HEADINGS,
    TRUST_NOTE,
    V2_HEADINGS,
    V2_NOTE,
    best_mark,
    counted,
    format_row,
    format_v2_row,
    language_rows,
    trust_rows,
)
from qa.storage import write_text

log = logging.getLogger(__name__)

PUBLISHED = [  # of bert-base-multilingual-cased on SQuAD v1.1
    Row(epoch=1, step=5555, train_loss=0.9982, val_loss=0.9436),
    Row(epoch=2, step=11110, train_loss=0.7694, val_loss=0.9356),
    Row(epoch=3, step=16665, train_loss=0.5627, val_loss=1.0122),
]
PLACES = [0, 5, 4, 3, 2, 1]  # of HEADINGS: epoch, F1, EM, validation loss; the last two are not on a phone
CANDIDATES = 5  # of each question, that the page shows
SHOWN = 5000  # questions: a page of more is no pleasure to open


def write_page(folder: Path, results: Results) -> None:
    """Writes `report.html` and, for a fit, the curves; from what the run folder holds already."""
    questions = read_questions(folder)
    shown = worst(questions)
    scored = [question for question in questions if question.exact_match is not None]
    by, (probability, right) = clusters(scored), outcomes(scored)
    page = templates().get_template("report.html")
    text = page.render(
        about=results.about,
        columns=[HEADINGS[place] for place in PLACES],
        rows=[(_placed(row), row == results.best and len(results.epochs) > 1) for row in results.epochs],
        v2_columns=V2_HEADINGS,
        v2_rows=[(format_v2_row(row), row == results.best) for row in results.epochs if row.is_v2],
        v2_note=V2_NOTE,
        language_columns=LANGUAGE_HEADINGS,
        language_rows=language_rows(results),
        language_note=LANGUAGE_NOTE,
        notes=[*filter(None, [results.evaluated and results.evaluated.note()]), *remarks(results)],
        best_mark=best_mark(results.monitor),
        published=[_placed(row) for row in PUBLISHED] if is_recipe(results.identity) else [],
        figures=[(name, *figure(scored, key)) for key, name in HEADLINE.items() if scored],
        bounds=bounds,
        count=len(scored),
        clusters=by,
        too_few=len(by.sizes) < TOO_FEW,
        chosen=results.chosen(folder),
        all=len(questions),
        shown=len(shown),
        skipped=sum(map(Counter, results.skipped.values()), Counter()),
        curves=write_curves(folder, results.epochs) if results.windows.train else "",
        reliability=apart(reliability(probability, right)) if len(right) else "",
        trust=results.calibration.after if results.calibration else trust(probability, right),
        calibration=results.calibration,
        trust_columns=TRUST_HEADINGS,
        trust_note=TRUST_NOTE,
        trust_rows=trust_rows(results.calibration) if results.calibration else [],
        few=TOO_FEW,
        counted=counted,
        breakdowns={
            name: parts
            for name, kind in kinds(scored).items()
            if len(parts := breakdown(scored, kind)) > 1 and not (name == "language" and results.by_language)
        },
        data=_data(shown, folder),
    )
    write_text(folder / "report.html", text)


def try_page(folder: Path, results: Results) -> None:
    """Writes the page, or warns: a run is finished without it, and showing the run tries again."""
    try:
        write_page(folder, results)
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        log.warning("%s: not written (%s); the same command tries again", folder / "report.html", first_line(error))


def templates() -> Environment:
    """The templates of `qa/review/templates`; all values in them are escaped."""
    environment = Environment(loader=PackageLoader("qa.review"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    return environment


def worst(questions: Sequence[Question]) -> Sequence[Question]:
    """At most SHOWN questions in their order: the worst answers, of equal ones the surest."""
    if len(questions) <= SHOWN:
        return questions
    order = sorted(range(len(questions)), key=lambda row: (questions[row].f1 or 0, -(questions[row].probability or 0)))
    return [questions[row] for row in sorted(order[:SHOWN])]


def _placed(row: Row) -> list[str]:
    """A row's texts in the page's order, the figures that matter first."""
    found = format_row(row)
    return [found[place] for place in PLACES]


def _data(questions: Sequence[Question], folder: Path) -> dict[str, Any]:
    """What the page's table is made of; each context once."""
    contexts: dict[str, int] = {}
    nbest = dict(read_answers(folder, {q.id for q in questions})) if (folder / "nbest.json").exists() else {}
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
            "nbest": [
                [answer.text or NO_ANSWER, _short(answer.probability)] for answer in nbest.get(q.id, [])[:CANDIDATES]
            ],
        }
        for q in questions
    ]
    return {"contexts": list(contexts), "questions": rows}


def _short(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, 3)  # NaN is no JSON
