"""Answers that people corrected, as a file that training reads."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import Field

from qa.errors import UserError
from qa.serving.limits import Refused
from qa.serving.schemas import Body, Text
from qa.storage import write_text

PASSAGE = 4_000  # characters of a longer text that are kept around an answer
MOST = 64 << 20  # bytes of the file


class Correction(Body):
    """The right answer of a question: `context[start : start + len(text)] == text`; "" where there is none."""

    question: Annotated[Text, Field(pattern=r"\S")]
    context: Annotated[Text, Field(pattern=r"\S")]
    text: Text
    start: Annotated[int, Field(ge=0)]  # code points; of no answer: about where the wrong one is
    name: Annotated[Text, Field(max_length=200)] = ""  # of the text
    predicted: Text = ""  # what the model had answered


class Corrections:
    """A JSONL file of corrected questions; one that is corrected again has its last answer."""

    def __init__(self, path: Path, model: str) -> None:
        """Errors: UserError for a file that cannot be read or written."""
        self.path, self.model = path, model
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab"), self._lock:
                self.count = len(self._lines())
        except OSError as error:
            raise UserError(f"--corrections {path}: {error.strerror}; give another file") from None

    def add(self, given: Correction) -> bool:
        """Keeps a correction; False where it is there already. Errors: UserError, Refused."""
        line = self._line(given)
        with self._lock:
            lines = self._lines()
            before = lines.get(line["id"])
            if before is not None and before["answers"] == line["answers"]:
                return False
            lines[line["id"]] = line
            text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines.values())
            if len(text.encode()) > MOST:
                raise Refused(503, f"corrections: {MOST >> 20} MiB are full; move {self.path.name} away")
            write_text(self.path, text)
            self.count = len(lines)
        return True

    def _lines(self) -> dict[str, dict[str, Any]]:
        try:
            found = [json.loads(line) for line in self.path.read_text("utf-8").split("\n") if line.strip()]
            return {line["id"]: line for line in found}
        except (ValueError, KeyError, TypeError):
            raise UserError(f"--corrections {self.path}: is no file of corrections; give another") from None

    def _line(self, given: Correction) -> dict[str, Any]:
        """A record as training reads it, with where it came from. Errors: UserError."""
        end = given.start + len(given.text)
        if given.text != given.context[given.start : end] or given.text != given.text.strip():
            raise UserError(f"start: the context does not have the answer at {given.start}; select it again")
        begin, context = passage(given.context, given.start, end)
        name = hashlib.blake2b(f"{given.question}\0{context}".encode(), digest_size=8).hexdigest()
        answers = {"text": [given.text], "answer_start": [given.start - begin]} if given.text else None
        return {
            "id": f"correction-{name}",
            "question": given.question,
            "context": context,
            "answers": answers or {"text": [], "answer_start": []},
            "is_impossible": not given.text,
            "source": {
                "text": given.name,
                "start": begin,
                "model": self.model,
                "predicted": given.predicted,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        }


def passage(text: str, start: int, end: int, most: int = PASSAGE) -> tuple[int, str]:
    """A piece of a text around a part of it, whole lines where it has some, and the character it begins at."""
    if len(text) <= most:
        return 0, text
    first, last = max(0, start - most // 2), min(len(text), end + most // 2)
    if first:
        first = max(first, text.find("\n", first, start) + 1)
    if last < len(text) and (line_end := text.rfind("\n", end, last)) > end:
        last = line_end
    return first, text[first:last]
