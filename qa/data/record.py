"""A record: what a file holds for one question, not checked yet, and where it is."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from qa.data.fields import is_marked_missing, read_literal
from qa.errors import UserError

Files = str | list[str]
SKIP_REMEDY = "fix it, or skip and count such records with data.on_bad_record=skip"
# small files can unpack to more than any memory holds
LONGEST_LINE = 16 << 20  # bytes of a line of JSONL, characters of a record of CSV, bytes of a text in Parquet


class Columns(BaseModel):
    """The user's names of a table's columns, or of the fields of JSON; None: recognised by NAMES."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str | None = None
    question: str | None = None
    context: str | None = None
    answer: str | None = None
    answer_start: str | None = None
    is_impossible: str | None = None


# the names by which a field is recognised, in lower case, the first one that is there
NAMES = {
    "id": ("id", "qid", "question_id", "query_id", "example_id"),
    "question": ("question", "question_text", "query_text", "query"),
    "context": ("context", "context_text"),
    "answer": ("answers", "answer", "answer_text"),
    "answer_start": ("answer_start", "answer_starts"),
    "is_impossible": ("is_impossible", "isimpossible", "impossible"),
    "title": ("title",),
}
PLAIN = {"id", "question", "context", "answers", "answer", "answer_start", "is_impossible", "title"}


class Record(NamedTuple):
    """What a file holds for one question, not checked yet.

    `fields`: {a key of NAMES: value as it is in the file}, or what is wrong with it. `group`: the paragraph of a file
    in which ids may restart, such as "3.0"; "" in a table.
    """

    where: str
    fields: "dict[str, Any] | BadRecord"
    number: str = ""  # its id where the file has none
    group: str = ""


class BadRecord(UserError):
    """A record that cannot be used: its kind (for the counts), where it is, what is wrong."""

    def __init__(self, kind: str, where: str, problem: str, remedy: str = SKIP_REMEDY) -> None:
        super().__init__(f"{where}: {problem}; {remedy}")
        self.kind, self.problem = kind, f"{where}: {problem}"


class Named:
    """Finds the fields of records under the names that a file has for them."""

    def __init__(self, path: Path | str, columns: Columns) -> None:
        self.path, self.columns = path, columns
        self.taken: dict[str, str] = {}  # {name in the file: key of NAMES} of names that are not the plain ones
        self.absent = set(columns.model_dump(exclude_none=True).values())  # names that no record had yet
        self._known: dict[tuple[str, ...], dict[str, str]] = {}

    def names(self, there: tuple[str, ...]) -> dict[str, str]:
        """{key of NAMES: name in the file} for a record with these names. The user's names win."""
        if there not in self._known:
            lower = {name.strip().lower(): name for name in reversed(there)}
            given = self.columns.model_dump(exclude_none=True)
            found = {key: name for key, name in given.items() if name in there}
            self.absent -= set(found.values())
            for key, names in NAMES.items():
                if key not in given and (name := next((lower[n] for n in names if n in lower), None)):
                    found[key] = name
                    if name not in PLAIN:
                        self.taken[name] = key
            self._known[there] = found
        return self._known[there]

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a record under the keys of NAMES; those that it does not have are missing."""
        fields = {key: row[name] for key, name in self.names(tuple(row)).items()}
        if not fields.get("answer") and not self.columns.answer:
            fields |= next(({"answer": row[name]} for name in NAMES["answer"] if row.get(name)), {})
        return fields

    def cells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a table's row; cells of answers and their places may hold lists, written as text."""
        fields = self.fields(row)
        answer, start = fields.get("answer"), fields.get("answer_start")
        if is_marked_missing(start):
            start = None
            answer = None if is_marked_missing(answer) else answer
        stands = isinstance(answer, str) and answer in str(fields.get("context"))
        if "answer" in fields:
            fields["answer"] = "" if answer is None else answer if stands else read_literal(answer)
        return fields if "answer_start" not in fields else {**fields, "answer_start": read_literal(start)}

    def check(self, there: tuple[str, ...]) -> None:
        """Errors: UserError for a table without a question or a context, or with two columns of one name."""
        if twice := sorted({name for name in there if there.count(name) > 1}):
            raise UserError(f"{self.path}: two columns are called {reprlib.repr(twice[0])}; rename one")
        found = self.names(there)
        for key in ("question", "context"):
            if key not in found:
                name = getattr(self.columns, key) or key
                raise UserError(
                    f"{self.path}: no column {name!r} (there: {', '.join(there)[:500]}); give data.columns.{key}=NAME"
                )

    def note(self) -> str:
        """The names that were recognised, for people; empty where all are the plain ones."""
        names = ", ".join(f"{name!r} as {key}" for name, key in self.taken.items())
        read = f"read {names}; data.columns.KEY=NAME chooses other columns" if names else ""
        absent = f"no record has {', '.join(map(repr, sorted(self.absent)))}" if self.absent else ""
        return f"{self.path}: {'; '.join(filter(None, [absent, read]))}" if absent or read else ""
