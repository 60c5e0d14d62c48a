"""Scores the predictions of any program; no model is needed."""

import logging
from pathlib import Path
from typing import Any

from qa.console import console
from qa.data.squad_data import SquadData
from qa.errors import UserError
from qa.evaluation.answers import Question, figures_by_answer, mean_scores, score_question
from qa.evaluation.question_table import write_questions
from qa.review.terminal import results_table, show_end
from qa.runs.predictions import read_predictions
from qa.runs.results import EvaluatedPart, PerSplit, Results, Row
from qa.runs.results_table import markdown_table
from qa.storage import write_text

log = logging.getLogger(__name__)


def score_predictions(data: SquadData, identity: dict[str, Any]) -> tuple[list[Question], Results]:
    """Scores the predictions of any program in the format of the official script; no model is needed.

    A question without a prediction counts as wrong, as there, and is counted. Errors: UserError for predictions of
    questions that there are not, or for a file that cannot be read.
    """
    path = Path(data.predictions_file or "")
    predictions = read_predictions(path)
    read = data.read("validation", need="texts")
    data.report("validation", read)
    examples, skipped = read.examples, read.skipped
    if unknown := sorted(predictions.keys() - {example.id for example in examples}):
        raise UserError(
            f"{path}: {len(unknown)} ids that {data.source('validation')} does not have, such as {unknown[0]!r};"
            " give the file that was predicted"
        )
    if missing := sum(example.id not in predictions for example in examples):
        log.warning("%s: %d questions have no prediction, and count as wrong", path, missing)
        skipped["no prediction"] = missing
    v2 = any(example.is_impossible for example in examples)
    questions = [score_question(example, None, predictions.get(example.id, ""), v2=v2) for example in examples]
    if v2:  # no prediction is not the prediction "no answer"
        questions = [q if q.id in predictions else q._replace(exact_match=0.0, f1=0.0) for q in questions]
    exact, overlap = mean_scores(questions)
    row, empty = Row(exact_match=exact, f1=overlap, **(figures_by_answer(questions) if v2 else {})), PerSplit()
    counts = PerSplit(validation=len(questions))
    return questions, Results(
        epochs=[row], best=row, windows=empty, examples=counts, windows_per_second=empty, devices=0,
        skipped={"validation": dict(skipped)}, evaluated=EvaluatedPart(questions=len(questions), of=len(questions)),
        identity=identity,
    )  # fmt: skip


def write_scores(folder: Path, questions: list[Question], results: Results) -> None:
    """Writes what `score` found, `results.json` last, and shows it."""
    write_questions(folder, questions)
    write_text(folder / "results.md", markdown_table(results.epochs) + "\n")
    write_text(folder / "results.json", results.model_dump_json(indent=1))
    console.print(results_table(results.epochs, results.best))
    show_end(folder, results)
