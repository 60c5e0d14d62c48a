"""Answers that people corrected, as a file that training reads."""

import hashlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field

from qa.data.example import CORRECTION
from qa.errors import UserError
from qa.serving.limits import Refused, busy
from qa.serving.schemas import Body, Text, Written
from qa.storage import append_text

log = logging.getLogger(__name__)

PASSAGE_CHARACTERS = 4_000  # characters of a longer text that are kept around an answer
LOCK_SECONDS = 10.0
MAX_FILE_BYTES = 16 << 20  # bytes of the file
Short = Annotated[Text, Field(max_length=2_000)]


class Correction(Body):
    """The right answer of a question: `context[start : start + len(text)] == text`; "" where there is none."""

    question: Annotated[Written, Field(max_length=2_000)]
    context: Written
    text: Short
    start: Annotated[int, Field(ge=0)]  # code points; of no answer: about where the wrong one is
    name: Annotated[Text, Field(max_length=200)] = ""  # of the text
    predicted: Short = ""  # what the model had answered


class Corrections:
    """A JSONL file of corrected questions. Lines are only added to it; the last one of a question counts."""

    def __init__(self, path: Path) -> None:
        """Errors: UserError for a file that cannot be read or written."""
        path = self.path = path.resolve()  # a link stays a link
        self._lock = FileLock(path.with_name(path.name + ".lock"), timeout=LOCK_SECONDS)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab"), self._lock:
                self.count = len(_by_id(self._content()))
        except OSError as error:
            raise UserError(f"--corrections {path}: {error.strerror}; give another file") from None
        except ValueError as error:
            raise UserError(f"--corrections {path}: {error}; repair it, or give another file") from None

    def add(self, correction: Correction, model: str, content: str) -> tuple[str, bool]:
        """Keeps a correction of a model's answer; returns its id, and whether it is new. Errors: UserError, Refused.

        `model`: the model's name, `content`: the hash of its files.
        """
        line = _line(correction, model, content)
        return line["id"], self._append(line)

    def withdraw(self, name: str) -> bool:
        """Undoes the correction with an id; False where there is none. Errors: Refused."""
        return self._append({"id": name, "withdrawn": True, "time": _now()})

    def _append(self, line: dict[str, Any]) -> bool:
        try:
            with self._lock:
                content = self._content()
                lines = _by_id(content)
                before = lines.get(line["id"], {})
                if before.get("answers") == line.get("answers"):
                    return False
                # an editor may have left the last line open
                text = "\n" * (content[-1:] not in ("", "\n")) + json.dumps(line, ensure_ascii=False) + "\n"
                if len(content.encode()) + len(text.encode()) > MAX_FILE_BYTES:
                    raise Refused(503, f"corrections: {MAX_FILE_BYTES >> 20} MiB are full; move {self.path.name} away")
                append_text(self.path, text)
                self.count = len(lines) + ("answers" in line) - bool(before)
        except ValueError as error:
            log.error("%s: %s", self.path, error)
            raise Refused(503, "the file of corrections cannot be read; the log has more") from None
        except Timeout:
            raise busy("another process holds the file of corrections") from None
        except OSError as error:
            log.error("%s: %s", self.path, error)
            words = f"corrections: the file cannot be written ({error.strerror})"
            raise Refused(507, f"{words}; tell whoever runs this service") from None
        return True

    def _content(self) -> str:
        return self.path.read_text("utf-8-sig") if self.path.exists() else ""  # it may have been moved away


def _line(correction: Correction, model: str, content: str) -> dict[str, Any]:
    """A record as training reads it, with its source. Errors: UserError."""
    end = correction.start + len(correction.text)
    is_there = end <= len(correction.context) and correction.text == correction.context[correction.start : end]
    if not is_there or correction.text != correction.text.strip():
        raise UserError(f"start: the context does not have the answer at {correction.start}; select it again")
    begin, context = passage(correction.context, correction.start, end)
    name = hashlib.blake2b(f"{correction.question}\0{correction.context}".encode(), digest_size=8).hexdigest()
    texts, starts = ([correction.text], [correction.start - begin]) if correction.text else ([], [])
    return {
        "id": f"{CORRECTION}{name}",
        "question": correction.question,
        "context": context,
        "answers": {"text": texts, "answer_start": starts},
        "is_impossible": not correction.text,
        "source": {
            "text": correction.name,
            "start": begin,
            "model": model,
            "model_content": content,
            "predicted": correction.predicted,
            "time": _now(),
        },
    }


def _by_id(content: str) -> dict[str, dict[str, Any]]:
    """The last correction of each question, unless it was withdrawn. Errors: ValueError."""
    last = {}
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                last[row["id"]] = row
            except (ValueError, KeyError, TypeError, RecursionError):
                raise ValueError(f"line {number} is no correction") from None
    return {name: line for name, line in last.items() if "withdrawn" not in line}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def passage(text: str, start: int, end: int) -> tuple[int, str]:
    """The first character of a piece around a part of a text, and the piece, in whole lines where it has some."""
    if len(text) <= PASSAGE_CHARACTERS:
        return 0, text
    first, last = max(0, start - PASSAGE_CHARACTERS // 2), min(len(text), end + PASSAGE_CHARACTERS // 2)
    if first:
        first = max(first, text.find("\n", first, start) + 1)
    if last < len(text) and (line_end := text.rfind("\n", end, last)) > end:
        last = line_end
    return first, text[first:last]
