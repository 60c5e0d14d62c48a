"""A record: the fields that a file has for one question, not checked yet, and their place."""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from qa.data.reading.fields import BadField, is_marked_missing, is_missing, is_start, read_literal
from qa.errors import UserError

Files = str | list[str]
SKIP_REMEDY = "fix it, or skip and list such records with data.on_bad_record=skip"
# small files can unpack to more than any memory holds
LONGEST_LINE = 16 << 20  # bytes of a line of JSONL, characters of a record of CSV, bytes of a text in Parquet
LONGEST_SHOWN = 300  # characters of a value in a list of bad records


class Columns(BaseModel):
    """The user's names of a table's columns, of the fields of JSON, or of a label; None: recognised by NAMES."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str | None = None
    question: str | None = None
    context: str | None = None
    answer: str | None = None
    answer_start: str | None = None
    is_impossible: str | None = None


# the names by which a field is recognised, as `plain` has them; of several the first that is not empty
NAMES = {
    "id": ("id", "qid", "questionid", "queryid", "exampleid"),
    "question": ("question", "questiontext", "querytext", "query"),
    "context": ("context", "contexttext"),
    "answer": ("answers", "answer", "answertext", "answerstext"),
    "answer_start": ("answerstart", "answerstarts", "answersanswerstart"),
    "is_impossible": ("isimpossible", "impossible", "unanswerable", "isunanswerable", "noanswer"),
    "is_answerable": ("isanswerable", "answerable"),
    "title": ("title",),
    "language": ("language", "lang"),
}
USUAL = {"id", "question", "context", "answers", "answer", "answer_start", "is_impossible", "title", "language"}


@lru_cache(1024)
def plain(name: str) -> str:
    """A name in lower case, letters and digits alone: "isimpossible" of "is_impossible" and "Is Impossible"."""
    return re.sub(r"[\W_]", "", name).lower()


class Record(NamedTuple):
    """The fields that a file has for one question, not checked yet.

    `fields`: {a key of NAMES: value as it is in the file}, and the names that are "there". `group`: the paragraph of a
    file in which ids may restart, such as "3.0"; "" in a table.
    """

    file: str
    place: str  # in the file, such as "line 7"
    fields: dict[str, Any]
    number: str = ""  # its id where the file has none
    group: str = ""
    answer_problem: BadField | UserError | None = None  # why its answers cannot be read; predictions do without them

    def spot(self) -> str:
        """The record's place, with its id if it has one, for people."""
        name = self.fields.get("id")
        return self.place if isinstance(name, dict | list | None) else f"{self.place} (id {name!r})"

    def repair(self, kind: str, was: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        """A line of repairs.jsonl."""
        return {"file": self.file, "record": self.spot(), "kind": kind, "was": was, "is": now}

    def bad(self, *why: str) -> "BadRecord":
        """The error for this record. `why`: kind and reason, perhaps the remedy, see `BadRecord`."""
        was = {key: value for key, value in self.fields.items() if key != "there"}
        return BadRecord(self.file, self.spot(), was, *why)


class BadRecord(UserError):
    """A record that cannot be used: its file and place, what is there, its kind (for the counts), and the reason."""

    def __init__(self, file: str, place: str, was: Any, kind: str, reason: str, remedy: str = SKIP_REMEDY) -> None:
        self.file, self.place, self.kind, self.reason, self.remedy = file, place, kind, reason, remedy
        self.problem = f"{file}: {place}: {reason}"
        self.was = {key: _shown(value) for key, value in was.items()} if isinstance(was, dict) else _shown(was)
        super().__init__(f"{self.problem}; {remedy}")

    def row(self) -> dict[str, Any]:
        """The record's line of skipped.jsonl."""
        return {"file": self.file, "record": self.place, "kind": self.kind, "reason": self.reason, "was": self.was}

    def among(self, kinds: Counter[str]) -> "BadRecord":
        """This error, which then also counts the other bad records of its file. `kinds`: of all bad records."""
        more = kinds - Counter([self.kind])
        if words := ", ".join(f"{count} {kind}" for kind, count in more.items()):
            others = f"{more.total()} more bad record{'s' * (more.total() > 1)}"
            super().__init__(f"{self.problem}, and {others}: {words}; {self.remedy}")
        return self


def _shown(value: Any) -> Any:
    """The value, or the beginning of its JSON where that is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > LONGEST_SHOWN:
        return f"{text[:LONGEST_SHOWN]}…"
    return value if isinstance(value, str) else json.loads(text)


class FieldNames:
    """Finds the fields of records under the names that a file has for them."""

    def __init__(self, path: Path | str, columns: Columns) -> None:
        self.file, self.columns = str(path), columns
        self.unusual: dict[str, str] = {}  # {name in the file: key of NAMES} of names that are not the usual ones
        self.absent = set(columns.model_dump(exclude_none=True).values())  # names that no record had yet
        self.labels: dict[str, str] = {}  # {label: its field} of the spans so far
        self.cut = 0  # spans so far that begin or end inside a word, as where their end is their last character
        self.replaced = 0  # lines so far that a later one replaces or withdraws
        self._known: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}

    def names(self, there: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """{key of NAMES, or "hint": names in the file} for a record with these names. The user's names win."""
        if there not in self._known:
            originals = {plain(name): name for name in reversed(there)}
            chosen = self.columns.model_dump(exclude_none=True)
            self.absent -= set(there)
            names: dict[str, tuple[str, ...]] = {key: (name,) for key, name in chosen.items() if name in there}
            for key, usual in NAMES.items():
                if key not in chosen and (matches := tuple(originals[name] for name in usual if name in originals)):
                    names[key] = matches
                    self.unusual |= {name: key for name in matches[:1] if name not in USUAL}
            text, has_answer = originals.get("text"), "answer" in {*names, *chosen}
            # beside a context and a place it is the answer's, as in SQuAD
            if text and not has_answer and {"context", "answer_start"} <= {*names} and text != chosen.get("context"):
                names["answer"], self.unusual[text] = (text,), "answer"
            if hints := tuple(name for name in there if is_start(name) and names.get("answer_start") != (name,)):
                names["hint"] = hints
            self._known[there] = names
        return self._known[there]

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a record under the keys of NAMES, and the names that are "there"; others are missing."""
        there = tuple(row)
        fields: dict[str, Any] = {"there": there}
        for key, names in self.names(there).items():
            value = row[names[0]]
            if len(names) > 1:
                value = next((row[name] for name in names if not is_missing(row[name]) and row[name] != []), value)
            fields[key] = value
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

    def check(self, there: tuple[str, ...], is_question: bool) -> None:
        """Checks a table's columns. Errors: UserError for two of one name, and for no question or context."""
        names = self.names(there)
        if twice := sorted({name for name in there if there.count(name) > 1}):
            raise UserError(f"{self.file}: two columns are called {reprlib.repr(twice[0])}; rename one")
        absent = [key for key in ("question", "context") if is_question and key not in names]
        if absent:
            missing = " and ".join(repr(getattr(self.columns, key) or key) for key in absent)
            columns = f"column{'s' * (len(absent) > 1)} {missing}"
            remedy = " and ".join(f"data.columns.{key}=NAME" for key in absent)
            raise UserError(f"{self.file}: no {columns} (there: {', '.join(there)[:500]}); give {remedy}")

    def note(self) -> str:
        """The names that were recognised, and what may be wrong, for people; empty where all is as usual."""
        keys = {name: key.replace("is_answerable", "not is_impossible") for name, key in self.unusual.items()}
        names = ", ".join(f"{name!r} as {key}" for name, key in keys.items() if key not in ("title", "language"))
        read = f"read {names}; data.columns.KEY=NAME chooses other columns" if names else ""
        absent = f"no record has {', '.join(map(repr, sorted(self.absent)))}" if self.absent else ""
        cut = f"labels that begin or end inside a word: {self.cut}; check their bounds" if self.cut else ""
        replaced = f"lines not read, which later ones replace or withdraw: {self.replaced}" if self.replaced else ""
        notes = "; ".join(filter(None, [absent, read, cut, replaced]))
        return f"{self.file}: {notes}" if notes else ""
