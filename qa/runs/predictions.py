"""`predictions.json`, `nbest.json` and `null_odds.json`."""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from qa.errors import UserError
from qa.evaluation.answers import Evaluation, NBestAnswer, Question, given_answer
from qa.evaluation.confidence import Calibrated, calibrated
from qa.evaluation.metrics import v2_scores
from qa.evaluation.question_table import read_questions, write_questions
from qa.runs.folder import RunFolder
from qa.storage import write_object


def write_predictions(folder: Path, evaluation: Evaluation) -> None:
    """Writes `predictions.json` ({id: text}, for the official script), `nbest.json` and `questions.parquet`, by id.

    SQuAD v2 also has `null_odds.json` ({id: null score − score of the best span}, for the official script).
    """
    run, answers = RunFolder(folder), evaluation.answers
    names = sorted(answers)
    texts = {question.id: question.prediction for question in evaluation.questions}
    write_object(run.predictions, ((name, texts[name]) for name in names))
    if evaluation.null_odds is not None:
        write_object(run.null_odds, sorted(evaluation.null_odds.items()))
    write_object(run.candidates, ((name, [answer._asdict() for answer in answers[name]]) for name in names))
    write_questions(folder, evaluation.questions)


def calibrate_predictions(folder: Path) -> Calibrated | None:
    """Fits temperatures with what a run predicted, and gives `questions.parquet` the probabilities that follow."""
    questions = {question.id: question for question in read_questions(folder)}
    scored, found = calibrated((questions[name], answers) for name, answers in read_answers(folder, questions))
    write_questions(folder, scored)
    return found


def at_threshold(question: Question, candidates: Sequence[NBestAnswer], threshold: float) -> Question:
    """A question of SQuAD v2 with what is answered at a threshold, scored."""
    given = given_answer(candidates, threshold)
    text = given.text if given else ""
    exact, overlap = v2_scores(text, question.answers)
    return question._replace(prediction=text, exact_match=exact, f1=overlap)


def read_predictions(path: Path) -> dict[str, str]:
    """{id: answer} in the format of the official evaluation script. Errors: UserError."""
    try:
        return TypeAdapter(dict[str, str]).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise UserError(f"data.predictions_file={path}: {error.strerror}; give another") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f'{path}: {place}: {first["msg"]}; give JSON of the form {{"id": "answer"}}') from None


def read_answers(folder: Path, names: Collection[str]) -> Iterator[tuple[str, list[NBestAnswer]]]:
    """Each of the questions `names` with its answers from `nbest.json`, line by line as `write_object` wrote it."""
    name, lines = "", [""]
    decoder = json.JSONDecoder()
    with RunFolder(folder).candidates.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith((' "', "}")):
                if name in names:
                    answers = json.loads("{" + "".join(lines).rstrip(",\n") + "}")[name]
                    yield name, [NBestAnswer(**answer) for answer in answers]
                name, lines = decoder.raw_decode(line, 1)[0] if line[0] == " " else "", []
            if name in names:
                lines.append(line)
