"""A record: what a file holds for one question, not checked yet, and where it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from qa.errors import UserError

Files = str | list[str]
SKIP_REMEDY = "fix it, or skip and count such records with data.on_bad_record=skip"
# small files can unpack to more than any memory holds
LONGEST_LINE = 16 << 20  # bytes of a line of JSONL, characters of a record of CSV, bytes of a text in Parquet


class Columns(BaseModel):
    """The names of a table's columns, or of the fields of JSONL; `answer_start` may be missing.

    Without an `id` a table's row or a line of JSONL has its number. A column or field `title` names the
    question's article.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str = "id"
    question: str = "question"
    context: str = "context"
    answer: str = "answer"
    answer_start: str = "answer_start"


class Record(NamedTuple):
    """What a file holds for one question, not checked yet, and where it is."""

    where: str
    fields: Any


class BadRecord(UserError):
    """A record that cannot be used: its kind (for the counts), where it is, what is wrong."""

    def __init__(self, kind: str, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}; {SKIP_REMEDY}")
        self.kind = kind


def check_columns(path: Path, there: Sequence[str], columns: Columns) -> None:
    for key in ("question", "context"):
        if (name := getattr(columns, key)) not in there:
            raise UserError(f"{path}: no column {name!r} (there: {', '.join(there)}); say data.columns.{key}=NAME")


def example_fields(row: Mapping[str, Any], number: int, columns: Columns) -> dict[str, Any]:
    """A row as an example's fields; a cell holds one answer or, in Parquet, a list of them."""
    fields = {"question": row[columns.question], "context": row[columns.context]}
    fields |= {"id": str(row.get(columns.id, number)), "title": row.get("title")}
    if row.get("answers"):
        return {**fields, "answers": row["answers"]}
    cells = row.get(columns.answer), row.get(columns.answer_start)
    texts, starts = (cell if isinstance(cell, list) else [] if cell in (None, "") else [cell] for cell in cells)
    starts = [int(s) if isinstance(s, str) and s.strip().removeprefix("-").isdecimal() else s for s in starts]
    starts += [None] * (len(texts) - len(starts))
    fields["answers"] = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    return fields
