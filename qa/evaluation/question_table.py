"""`questions.parquet`: one row for every question of an evaluation, with all that a review of its answers needs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.parquet

from qa.data.examples import Example
from qa.errors import UserError
from qa.evaluation.decode import NBestAnswer
from qa.evaluation.metrics import exact_match, f1
from qa.storage import atomic_write

NAME = "questions.parquet"
AT_ONCE = 10_000  # rows that are Python objects beside the table's own
TEXT = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
SCHEMA = pyarrow.schema(
    {
        "id": pyarrow.string(),
        "question": pyarrow.string(),
        "context": TEXT,
        "language": TEXT,  # null where the file's name does not say
        "answers": pyarrow.list_(pyarrow.string()),
        "answer_starts": pyarrow.list_(pyarrow.int32()),  # characters of the context
        "prediction": pyarrow.string(),  # "" where there is none
        "start": pyarrow.int32(),  # characters of the context, end-exclusive
        "end": pyarrow.int32(),
        "probability": pyarrow.float64(),
        "exact_match": pyarrow.float64(),  # 0 or 1; null, like f1 and loss, where no answer is known
        "f1": pyarrow.float64(),  # in [0, 1]
        "loss": pyarrow.float64(),  # mean over the question's windows
        "title": TEXT,  # of the article; null where the data do not say
    }
)


class Evaluation(NamedTuple):
    """What an evaluation found: n-best answers, example and loss (mean over its windows) by example id."""

    answers: Mapping[str, Sequence[NBestAnswer]]
    examples: Mapping[str, Example]
    losses: Mapping[str, float]


class Question(NamedTuple):
    """A row of `questions.parquet`; the fields are those of SCHEMA. Files without titles are read too."""

    id: str
    question: str
    context: str
    language: str | None
    answers: list[str]
    answer_starts: list[int]
    prediction: str
    start: int | None
    end: int | None
    probability: float | None
    exact_match: float | None
    f1: float | None
    loss: float | None
    title: str | None = None


def write_questions(folder: Path, questions: Iterable[Question]) -> None:
    """Writes the file, ids in sorted order, `AT_ONCE` rows at a time."""
    rows = sorted(questions)
    with (
        atomic_write(folder / NAME, binary=True) as file,
        pyarrow.parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer,
    ):
        for begin in range(0, len(rows), AT_ONCE):
            part = [question._asdict() for question in rows[begin : begin + AT_ONCE]]
            writer.write_table(pyarrow.Table.from_pylist(part, SCHEMA))


def evaluated(evaluation: Evaluation) -> Iterator[Question]:
    """The questions of an evaluation with their best answers."""
    for name, best in evaluation.answers.items():
        yield scored(evaluation.examples[name], next(iter(best), None), loss=evaluation.losses.get(name))


def scored(example: Example, best: NBestAnswer | None, text: str = "", loss: float | None = None) -> Question:
    """A question with its best answer, or with a text whose place and probability nobody knows."""
    texts = [answer.text for answer in example.answers]
    prediction = best.text if best else text
    return Question(
        example.id,
        example.question,
        example.context,
        example.language,
        texts,
        [answer.answer_start for answer in example.answers],
        prediction,
        best.start if best else None,
        best.end if best else None,
        best.probability if best else None,
        max((exact_match(prediction, text) for text in texts), default=None),
        max((f1(prediction, text) for text in texts), default=None),
        loss,
        example.title,
    )


def read_questions(folder: Path) -> list[Question]:
    """A run's questions, by id. Errors: UserError for a folder without them, or a damaged file."""
    path = folder / NAME
    try:
        contexts: dict[str, str] = {}  # each held once, whatever the questions on it
        questions = []
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(AT_ONCE):
                for row in batch.to_pylist():
                    row["context"] = contexts.setdefault(row["context"], row["context"])
                    questions.append(Question(**row))
        return questions
    except FileNotFoundError:
        raise UserError(f"{path}: not there; give the folder of a finished run, or repeat its stage=validate") from None
    except (OSError, TypeError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); repeat stage=validate") from None
