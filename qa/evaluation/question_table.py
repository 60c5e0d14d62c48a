"""`questions.parquet`: one row for every question of an evaluation, with all that a review of its answers needs."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet

from qa.errors import UserError
from qa.evaluation.answers import Question
from qa.storage import atomic_write

QUESTIONS_FILE = "questions.parquet"
QUESTION_BLOCK = 10_000  # rows that are Python objects beside the table's own
TEXT = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
SCHEMA = pyarrow.schema(  # of `Question`
    {
        "id": pyarrow.string(),
        "question": pyarrow.string(),
        "context": TEXT,
        "language": TEXT,
        "answers": pyarrow.list_(pyarrow.string()),
        "answer_starts": pyarrow.list_(pyarrow.int32()),
        "prediction": pyarrow.string(),
        "start": pyarrow.int32(),
        "end": pyarrow.int32(),
        "probability": pyarrow.float64(),
        "exact_match": pyarrow.float64(),
        "f1": pyarrow.float64(),
        "loss": pyarrow.float64(),
        "title": TEXT,
    }
)


def write_questions(folder: Path, questions: Iterable[Question]) -> None:
    """Writes the file, ids in sorted order, `QUESTION_BLOCK` rows at a time."""
    rows = sorted(questions)
    with (
        atomic_write(folder / QUESTIONS_FILE, binary=True) as file,
        pyarrow.parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer,
    ):
        for begin in range(0, len(rows), QUESTION_BLOCK):
            part = [question._asdict() for question in rows[begin : begin + QUESTION_BLOCK]]
            writer.write_table(pyarrow.Table.from_pylist(part, SCHEMA))


def read_questions(folder: Path) -> list[Question]:
    """A run's questions, by id. Errors: UserError for a folder without them, or a damaged file."""
    path = folder / QUESTIONS_FILE
    contexts: dict[str, str] = {}  # each in memory once, whatever the questions on it
    questions = []
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(QUESTION_BLOCK):
                for row in batch.to_pylist():
                    row["context"] = contexts.setdefault(row["context"], row["context"])
                    questions.append(Question(**row))
    except FileNotFoundError:
        raise UserError(f"{path}: not there; give the folder of a finished run, or repeat its stage=validate") from None
    except (OSError, TypeError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); repeat stage=validate") from None
    return questions
