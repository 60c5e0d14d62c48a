"""Scores the predictions of any program; no model is needed."""

import logging
from pathlib import Path
from typing import Any

from qa.data.squad_data import SquadData
from qa.errors import UserError
from qa.evaluation.answers import Question, figures_by_answer, figures_by_language, mean_scores, score_question
from qa.evaluation.languages import language_figures
from qa.runs.predictions import read_predictions
from qa.runs.results import EvaluatedPart, PerSplit, Results, Row

log = logging.getLogger(__name__)


def score_predictions(data: SquadData, identity: dict[str, Any]) -> tuple[list[Question], Results]:
    """Scores the predictions of any program in the format of the official scripts; no model is needed.

    A question without a prediction scores 0, as by the script of v1.1 (that of v2.0 has no figures then), and
    predictions of unknown ids are ignored; both are counted. Errors: UserError where fewer than half of the predicted
    ids are known, or for a file that cannot be read.
    """
    path = Path(data.predictions_file or "")
    predictions = read_predictions(path)
    read = data.sources.read("validation", need="texts")
    data.report("validation", read)
    examples, ids = read.examples, {example.id for example in read.examples}
    unknown = sorted(predictions.keys() - ids)
    if 2 * len(ids & predictions.keys()) < max(len(predictions), 1):
        such = f", not {unknown[0]!r} for example" if unknown else ""
        raise UserError(
            f"{path}: {len(predictions) - len(unknown)} of its {len(predictions)} ids are in"
            f" {data.sources.in_words('validation')}{such}; give the file that was predicted"
        )
    skipped = dict(read.skipped)
    v2 = any(example.is_impossible for example in examples)
    for kind, count, rule in (
        ("no prediction", len(ids - predictions.keys()), "scores 0"),
        ("prediction of an unknown id", len(unknown), "ignored"),
    ):
        if count:
            log.warning("%s: %d × %s: %s", path, count, kind, rule)
            skipped[kind] = count
    questions = [score_question(example, None, predictions.get(example.id, ""), v2=v2) for example in examples]
    # no prediction is not the prediction "no answer"
    questions = [q if q.id in predictions else q._replace(exact_match=0.0, f1=0.0) for q in questions]
    exact, overlap = mean_scores(questions)
    by_answer = figures_by_answer(questions) if v2 else {}
    row = Row(exact_match=exact, f1=overlap, **figures_by_language(questions), **by_answer)
    count, empty = len(questions), PerSplit()
    return questions, Results(
        epochs=[row], best=row, windows=empty, examples=PerSplit(validation=count), windows_per_second=empty, devices=0,
        skipped={"validation": skipped}, evaluated=EvaluatedPart(questions=count, of=count),
        by_language=language_figures(questions), identity=identity,
    )  # fmt: skip
