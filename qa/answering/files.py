"""A file of questions → a file of answers, a line each; a killed command resumes where it ended."""

import hashlib
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from qa.answering.answer import Answer
from qa.answering.answerer import QuestionAnswerer
from qa.answering.check import AT_ONCE, BAD_SHOWN
from qa.answering.options import AnswerOptions, Options
from qa.answering.promise import with_promise
from qa.answering.work import Ask
from qa.console import track
from qa.data.example import Example
from qa.data.reading.checked import examples_to_ask
from qa.data.reading.files import find_files
from qa.data.reading.record import BadRecord, Columns
from qa.errors import UserError, in_flags
from qa.storage import new_file_mode, rename_new

log = logging.getLogger(__name__)

STANDARD_OUTPUT = Path("-")
Asks = Iterator[Example | BadRecord]  # each record of some files


def answer_file(
    answerer: QuestionAnswerer, source: str, target: Path, options: AnswerOptions, columns: Columns = Columns()
) -> Counter[str]:
    """Writes a line of JSON for each record of `source`, of any kind that training reads, in its order.

    Lines are {"id", "text", "start", "end", "score", "probability", …}; a record that cannot be used has {"id",
    "error"}, and the first ones are named in the log. Until all is done the file is `TARGET.KEY.part`, where the same
    command resumes. Returns how many records were "answered", had "no answer", were "bad", those of earlier starts
    included, and how many were done "before".

    Errors: UserError for files that cannot be read or written, without a question, and for a target that is there, or
    that another process is writing. `STANDARD_OUTPUT` is no file: it gets the lines as they are made.
    """
    checked = Options.check(options)
    checked.languages(1, answerer.answering)
    with_promise(checked, answerer.answering)
    paths = find_files(source)
    asks = chain.from_iterable(examples_to_ask(path, columns) for path in paths)
    counts: Counter[str] = Counter()
    if target == STANDARD_OUTPUT:
        _answer(answerer, asks, options, counts, sys.stdout.buffer)
    else:
        with _part_of(target, _key(answerer, paths, options, columns)) as file:
            _answer(answerer, _left(file, asks, counts), options, counts, file)
    if not counts:
        raise UserError(f"{source}: no question in it; give a file that holds some")
    if (more := counts["bad"] - BAD_SHOWN) > 0:
        log.warning("%d more records could not be used; their lines in %s say why", more, target)
    return counts


@contextmanager
def _part_of(target: Path, key: str) -> Iterator[IO[bytes]]:
    """Opens `TARGET.KEY.part`, to add lines; in the end, if it has some, it becomes the target. Errors: UserError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{key}.part")
    with _alone(target):
        if target.exists() or target.is_symlink():
            raise UserError(f"{target}: already exists; remove it, or give another --out")
        try:
            with part.open("ab+") as file:
                yield file
                os.fsync(file.fileno())
        finally:
            if not part.stat().st_size:
                part.unlink()
        try:
            if part.exists():
                rename_new(part, target)
        except FileExistsError:
            raise UserError(f"{target}: another program wrote it meanwhile; the answers are in {part}") from None


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keeps other processes from writing the same file. Errors: UserError where one does."""
    path = target.with_name(f".{target.name}.lock")
    try:
        with FileLock(path, timeout=0, mode=new_file_mode()):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)  # before its release: who opened it meanwhile does not get it
    except Timeout:
        raise UserError(f"{target}: another process is writing it; wait for it, or give another --out") from None


def _key(answerer: QuestionAnswerer, paths: Iterable[Path], options: AnswerOptions, columns: Columns) -> str:
    """The hash of a command's model, questions, options and columns; a file is resumed where it is the same."""
    stats = [(path.resolve(), path.stat()) for path in (*paths, *answerer.files)]
    files = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    chosen = [{name: value for name, value in sorted(options.items()) if name != "batch_size"}, columns.model_dump()]
    words = json.dumps([files, answerer.answering.model_dump(), *chosen])
    return hashlib.blake2b(words.encode(), digest_size=4).hexdigest()


def _left(file: IO[bytes], asks: Asks, counts: Counter[str]) -> Asks:
    """The records that have no line yet; counts the others, and cuts the file off at the first line that is not theirs.

    A machine that lost power leaves broken lines.
    """
    file.seek(0)
    end = 0
    for line, ask in zip(file, asks, strict=False):
        row = _row(line)
        if row.get("id", ...) != _id(ask) or not row.keys() & {"text", "error"}:
            asks = chain([ask], asks)
            break
        end += len(line)
        counts["before"] += 1
        counts["bad"] += "error" in row
    file.truncate(end)
    return asks


def _row(line: bytes) -> dict[str, Any]:
    """The object of a whole line; empty for anything else."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) and line.endswith(b"\n") else {}


def _id(ask: Example | BadRecord) -> str | None:
    return ask.id if isinstance(ask, Example) else None


def _answer(
    answerer: QuestionAnswerer, asks: Asks, options: AnswerOptions, counts: Counter[str], file: IO[bytes]
) -> None:
    """Writes the lines of records as they are answered."""
    parts = iter(lambda: list(islice(asks, AT_ONCE)), [])
    for records in track(parts, f"answering, {AT_ONCE} at a time", total=None):
        file.write(b"".join(map(as_json, _lines(answerer, records, options, counts))))
        file.flush()


def _lines(
    answerer: QuestionAnswerer, records: list[Example | BadRecord], options: AnswerOptions, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    examples = [record for record in records if isinstance(record, Example)]
    answers = iter(_answers(answerer, examples, options))
    for record in records:
        answer = next(answers) if isinstance(record, Example) else record
        name = _id(record)
        if isinstance(answer, UserError):
            problem = answer.problem if isinstance(answer, BadRecord) else str(answer)
            counts["bad"] += 1
            if counts["bad"] <= BAD_SHOWN:
                log.warning("%s", problem if name is None else f"id {name!r}: {problem}")
            yield {"id": name, "error": in_flags(problem)}
        else:
            counts["answered" if answer else "no answer"] += 1
            counts["unlike"] += bool(answer.warning)
            yield {"id": name, **as_line(answer)}


def _answers(
    answerer: QuestionAnswerer, examples: list[Example], options: AnswerOptions
) -> Sequence[Answer | UserError]:
    """The answer of each question; one by one where one of them cannot be answered."""
    if not examples:
        return []
    try:
        calibrated = answerer.answering.temperature_by_language
        languages = [example.language if example.language in calibrated else None for example in examples]
        chosen = Options.check({**options, "language": options.get("language") or languages})
        return answerer.answers([Ask(example.question, [example.context]) for example in examples], chosen)
    except UserError as error:
        if len(examples) == 1:
            return [error]
        return [answer for example in examples for answer in _answers(answerer, [example], options)]


def as_json(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8, with the end of its line."""
    return f"{json.dumps(value, ensure_ascii=False, indent=indent)}\n".encode()


def as_line(answer: Answer) -> dict[str, Any]:
    """An answer for JSON, without its empty fields."""
    line = {name: value for name, value in asdict(answer).items() if value is not None and value != ()}
    return line | {"alternatives": [as_line(other) for other in answer.alternatives]} if answer.alternatives else line
