"""`report.html`: the review of a run in one file that needs no network, no account and no server."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from qa.breakdown import KINDS, breakdown, question_type
from qa.calibration import calibration
from qa.curves import as_svg, reliability, write_curves
from qa.intervals import TOO_FEW, Estimate, bounds, clusters, percent, proportion
from qa.questions import Question, read_questions
from qa.report import COLUMNS, Results, Row, cells, read_answers, write_text

PUBLISHED = [  # of bert-base-multilingual-cased on SQuAD v1.1
    Row(epoch=1, step=5555, train_loss=0.9982, val_loss=0.9436),
    Row(epoch=2, step=11110, train_loss=0.7694, val_loss=0.9356),
    Row(epoch=3, step=16665, train_loss=0.5627, val_loss=1.0122),
]
CANDIDATES = 5  # of each question, that the page shows


def write_page(folder: Path, results: Results, about: dict[str, str], published: bool) -> None:
    """Writes `report.html` and, for a fit, the curves; from what the run folder holds already.

    `about`: what the head of the page says of the run; `published`: whether it is to be compared with the recipe's.
    """
    questions = read_questions(folder)
    scored = [question for question in questions if question.exact_match is not None]
    by, trust = clusters(scored), calibration(scored)
    page = templates().get_template("report.html")
    text = page.render(
        about=about,
        columns=COLUMNS,
        rows=[(cells(row), row == results.best and len(results.epochs) > 1) for row in results.epochs],
        note=results.evaluated.note() if results.evaluated else "",
        published=[cells(row)[:4] for row in PUBLISHED] if published else [],
        figures=[(name, *figure(scored, key)) for name, key in (("EM", "exact_match"), ("F1", "f1")) if scored],
        bounds=bounds,
        count=len(scored),
        clusters=by,
        too_few=len(by.sizes) < TOO_FEW,
        chosen=results.chosen,
        skipped={kind: number for counts in results.skipped.values() for kind, number in counts.items()},
        curves=write_curves(folder, results.epochs) if results.windows.train else "",
        reliability=as_svg(reliability(trust)) if trust else "",
        calibration=trust,
        breakdowns={name: parts for name, kind in KINDS.items() if len(parts := breakdown(scored, kind)) > 1},
        data=_data(questions, folder),
    )
    write_text(folder / "report.html", text)


def templates() -> Environment:
    """Those of `qa/templates`; whatever is put into one is escaped."""
    environment = Environment(loader=PackageLoader("qa"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    return environment


def figure(questions: Sequence[Question], key: str) -> Estimate:
    """Mean and interval in percent, over questions alone; see `qa.intervals`."""
    values = np.array([[getattr(question, key) for question in questions]], float)
    return percent(proportion(values, clusters(questions)))


def _data(questions: Sequence[Question], folder: Path) -> dict[str, Any]:
    """What the page's table is made of; each context once."""
    contexts: dict[str, int] = {}
    nbest = read_answers(folder) if (folder / "nbest.json").exists() else {}
    rows = [
        {
            "id": q.id,
            "question": q.question,
            "context": contexts.setdefault(q.context, len(contexts)),
            "gold": [[begin, begin + len(text)] for begin, text in zip(q.answer_starts, q.answers, strict=True)],
            "answers": list(dict.fromkeys(q.answers)),
            "prediction": q.prediction,
            "span": None if q.start is None else [q.start, q.end],
            "probability": _short(q.probability),
            "em": q.exact_match,
            "f1": _short(q.f1),
            "loss": _short(q.loss),
            "language": q.language or "",
            "type": question_type(q),
            "nbest": [[answer.text, _short(answer.probability)] for answer in nbest.get(q.id, [])[:CANDIDATES]],
        }
        for q in questions
    ]
    return {"contexts": list(contexts), "questions": rows}


def _short(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, 3)  # NaN is no JSON
