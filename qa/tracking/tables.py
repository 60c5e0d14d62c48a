"""Tables of a finished run for a dashboard, beside its curves: results, kinds of questions, probabilities, answers."""

import io
import random
from collections.abc import Sequence
from typing import Any

from qa.evaluation.answers import Question
from qa.review.charts import as_png, reliability, together
from qa.review.report import RunReport
from qa.runs.results import Row

WRONG, RIGHT = 500, 100  # answers that are shown, of more a sample
ANSWER = ("id", "question", "context", "gold", "prediction", "probability", "exact_match", "f1", "loss")


def end_of_run(report: RunReport, seed: int, answers: bool) -> dict[str, Any]:
    """W&B tables and a picture, by the key of their log. `answers`: whether texts of the data are among them."""
    import wandb
    from PIL import Image

    results = report.results
    measured = {name for row in [Row(), *results.epochs] for name in row.model_dump()}
    columns: list[Any] = [name for name in Row.model_fields if name in measured]
    rows = [[getattr(row, name) for name in columns] for row in results.epochs]
    media: dict[str, Any] = {
        "results": wandb.Table(columns, rows),
        "breakdown": wandb.Table(
            ["kind", "part", "questions", "exact_match", "f1"],
            [[name, *part[:4]] for name, parts in report.breakdowns.items() for part in parts],
        ),
    }
    if answers:
        rows = [answer(question) for question in shown(report.questions, seed)]
        media["predictions"] = wandb.Table(list(ANSWER), rows)
    if report.reliability:
        picture = as_png(together(reliability(*report.reliability)))
        media["reliability"] = wandb.Image(Image.open(io.BytesIO(picture)))
    return media


def shown(questions: Sequence[Question], seed: int) -> list[Question]:
    """Wrong and unjudged answers before right ones; of too many a sample, the same for a seed."""
    draw = random.Random(seed)
    wrong, right = ([q for q in questions if (q.exact_match == 1) is correct] for correct in (False, True))
    return [q for group, limit in ((wrong, WRONG), (right, RIGHT)) for q in draw.sample(group, min(limit, len(group)))]


def answer(question: Question) -> list[Any]:
    """A row under ANSWER: the prediction marked by [[ ]] in its context; EM and F1 in percent."""
    context = question.context
    if question.start is not None and question.end is not None:
        begin, end = question.start, question.end
        context = f"{context[:begin]}[[{context[begin:end]}]]{context[end:]}"
    figures = [None if share is None else 100 * share for share in (question.exact_match, question.f1)]
    gold = " | ".join(question.shown_references)
    words = [question.id, question.question, context, gold, question.shown_prediction]
    return [*words, question.probability, *figures, question.loss]
