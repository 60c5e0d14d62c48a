"""A repaired file of questions, as SQuAD JSON, and the list of changes beside it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from qa.data.example import Example
from qa.data.quality.inspection import GARBLED, REPEAT, repeats
from qa.data.quality.mojibake import garbled_texts
from qa.data.reading.checked import Examples
from qa.data.reading.languages import language_of
from qa.data.reading.record import NAMES, BadRecord, Columns, Record, plain
from qa.errors import UserError
from qa.storage import write_object, write_text

KEPT = {plain(name) for names in NAMES.values() for name in names} | {"qas", "paragraphs"}


def count_others(
    records: Iterator[Record | BadRecord], columns: Columns, others: Counter[str]
) -> Iterator[Record | BadRecord]:
    """Yields the records; counts in `others` the fields that a fixed file does not have."""
    kept = KEPT | {plain(name) for name in columns.model_dump(exclude_none=True).values()}
    for record in records:
        if isinstance(record, Record):
            others.update(name for name in record.fields.get("there", ()) if plain(name) not in kept)
        yield record


def changes_path(out: Path) -> Path:
    """Where the changes of a new file are listed. Errors: UserError for a name that is taken, or not of JSON."""
    changes = out.with_suffix(".changes.jsonl")
    if out.suffix != ".json":
        raise UserError(f"--fix {out}: writes SQuAD JSON; give a name that ends with .json")
    for path in (out, changes):
        if path.exists():
            raise UserError(f"--fix {out}: {path} already exists; give another name")
    return changes


def write_fixed(file: Path, read: Examples, restored: Sequence[Example], out: Path) -> tuple[int, int]:
    """Writes the questions of a file, repaired where that is safe, and the changes; returns their numbers.

    `restored`: the examples of `read` with their letters restored. Errors: UserError, also as `changes_path`.
    """
    changes = changes_path(out)
    repeated, told = repeats(restored), language_of(file)
    kept = [e if e.language else e.model_copy(update={"language": told}) for e in restored if e.id not in repeated]
    if not kept:
        raise UserError(f"{file}: no question that can be used; nothing is written")
    rows = list(_changes(file, read, restored, repeated))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(changes, lines.encode(errors="backslashreplace").decode())  # surrogates, as JSON has them
        write_object(out, as_squad(kept).items())
    except OSError as error:
        with suppress(OSError):
            changes.unlink()
        raise UserError(f"--fix {out}: cannot be written ({error.strerror}); give another name") from None
    return len(kept), len(rows)


def _changes(
    file: Path, read: Examples, restored: Sequence[Example], repeated: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """A row for each change, as those of repairs.jsonl; `is` is null where a question is left out."""
    yield from read.repairs
    for bad in read.bad:
        yield {**bad.row(), "is": None}
    for why, place in read.assumed:
        kind = "taken as unanswerable"
        yield {"file": str(file), "record": place, "kind": kind, "was": why, "is": {"is_impossible": True}}
    for was, now in zip(read.examples, restored, strict=True):
        row = {"file": str(file), "record": f"id {was.id!r}"}
        for piece in garbled_texts(was, now):
            if piece.is_restored:
                yield {**row, "kind": GARBLED, "was": piece.was, "is": piece.now}
        if was.id in repeated:
            yield {**row, "kind": REPEAT, "was": {"question": now.question}, "is": None, "first": repeated[was.id]}


def as_squad(examples: Sequence[Example]) -> dict[str, Any]:
    """SQuAD JSON of examples in their order; v2.0 where some have no answer."""
    is_v2 = any(example.is_impossible for example in examples)
    articles = []
    for (title, language), article in groupby(examples, key=lambda example: (example.title, example.language)):
        paragraphs = [
            {"context": context, "qas": [_question(example, is_v2) for example in part]}
            for context, part in groupby(article, key=lambda example: example.context)
        ]
        head = {"title": title, "language": language}
        articles.append({**{key: value for key, value in head.items() if value}, "paragraphs": paragraphs})
    return {"version": "v2.0" if is_v2 else "1.1", "data": articles}


def _question(example: Example, is_v2: bool) -> dict[str, Any]:
    """A place of -1 is not known, as in CMRC."""
    answers = [{"text": text, "answer_start": -1 if start is None else start} for text, start in example.answers]
    flag = {"is_impossible": example.is_impossible} if is_v2 else {}
    return {"id": example.id, "question": example.question, "answers": answers, **flag}
