"""`predictions.json`, `nbest.json` and `null_odds.json`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from io import BytesIO
from itertools import pairwise
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from qa.errors import UserError
from qa.evaluation.answers import Evaluation, NBestAnswer, Question, given_answer
from qa.evaluation.metrics import v2_scores
from qa.evaluation.question_table import write_questions
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


def at_threshold(question: Question, candidates: Sequence[NBestAnswer], threshold: float) -> Question:
    """A question of SQuAD v2 with its answer at a threshold, scored."""
    answer = given_answer(candidates, threshold)
    text = answer.text if answer else ""
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


class WrittenAnswers(Mapping[str, list[NBestAnswer]]):
    """The answers of each question in an `nbest.json`, read when they are asked for; empty where there is no file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """The bytes of each question's member of the object, line by line as `write_object` wrote it."""
        begins: dict[str, int] = {}
        place = 0
        with self.path.open("rb") if self.path.exists() else BytesIO() as file:
            for line in file:
                if line.startswith(b' "'):
                    begins[json.JSONDecoder().raw_decode(line.decode(), 1)[0]] = place
                end, place = place, place + len(line)
        return dict(zip(begins, pairwise([*begins.values(), end]), strict=True)) if begins else {}

    def __getitem__(self, name: str) -> list[NBestAnswer]:
        begin, end = self._places[name]
        with self.path.open("rb") as file:
            file.seek(begin)
            member = file.read(end - begin).decode().rstrip(",\n")
        return [NBestAnswer(**answer) for answer in json.loads(f"{{{member}}}")[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
