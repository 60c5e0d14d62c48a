"""Record → example: its fields read, its answers found in the context, as far as the stage needs them."""

import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from qa.data.example import Answer, Example
from qa.data.fields import BadField, Reference, read_answers, read_flag, read_id
from qa.data.places import Place, occurrences, repaired
from qa.data.record import BadRecord, Record

# of the answers, what a stage needs: a place in the context for its loss, texts to score, or nothing
Need = Literal["places", "texts", "nothing"]
REPAIR_REMEDY = "fix it, skip and count such records with data.on_bad_record=skip, or try data.on_bad_record=repair"


@dataclass
class Examples:
    """The examples of one split in file order, and what happened to its records."""

    examples: list[Example] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)  # that were skipped
    skipped: Counter[str] = field(default_factory=Counter)  # records, by kind
    repairs: list[dict[str, Any]] = field(default_factory=list)  # rows of repairs.jsonl
    unplaced: int = 0  # references that count for EM and F1 alone
    files: dict[str, Path] = field(default_factory=dict)  # {id: its file}


def check_record(record: Record, repair: bool, need: Need, read: Examples) -> Example:
    """The example of a record; notes in `read` what was repaired. Errors: BadRecord."""
    if isinstance(record.fields, BadRecord):
        raise record.fields
    fields = record.fields
    try:
        for key in ("question", "context"):
            if key not in fields:
                raise BadField(f"missing {key}", f"the field {key!r} is missing; data.columns.{key}=NAME names it")
        references, is_impossible = _references(fields, need)
        name, context = read_id(fields.get("id")) or record.number, fields["context"]
        known = references if isinstance(context, str) and context.strip() else []  # else the example is refused
        return Example(
            id=name,
            question=fields["question"],
            context=context,
            answers=_answers(context, known, repair, need, record, read),
            title=fields.get("title"),
            is_impossible=is_impossible,
        )
    except BadField as bad:
        raise BadRecord(bad.kind, _where(record), str(bad)) from None
    except ValidationError as error:
        raise BadRecord(*_explain(error, _where(record))) from None


def _where(record: Record) -> str:
    """Where a record is, for people, with its id if it has one."""
    name = None if isinstance(record.fields, BadRecord) else record.fields.get("id")
    return record.where if isinstance(name, dict | list | None) else f"{record.where} (id {name!r})"


def _references(fields: dict[str, Any], need: Need) -> tuple[list[Reference], bool]:
    """The answers that the file gives, and whether the question is unanswerable. Errors: BadField."""
    given = fields.get("answer")
    try:
        flag, references = read_flag(fields.get("is_impossible")), read_answers(given, fields.get("answer_start"))
    except BadField:
        if need != "nothing":
            raise
        return [], False
    if need == "nothing":
        return references, False
    if given is None and not flag:
        remedy = "name its field by data.columns.answer=NAME, or mark it as unanswerable by answers: []"
        raise BadField("no answer", f"it has no answer; {remedy}")
    return ([], True) if flag or not references else (references, False)


def _answers(
    context: str, references: Sequence[Reference], repair: bool, need: Need, record: Record, read: Examples
) -> tuple[Answer, ...]:
    """The references with their places. Errors: BadRecord where one place is needed and there is none."""
    plain = [Answer(text, start) for text, start in references if start is not None and context.startswith(text, start)]
    if len(plain) == len(references):
        return tuple(plain)
    places = [_place(context, reference, repair and need == "places") for reference in references]
    located = sum(place is not None for place in places)
    if not located and need == "places":
        raise BadRecord(*_misplaced(context, references[0], _where(record)), REPAIR_REMEDY)
    read.unplaced += len(references) - located
    file, _, place_in_file = _where(record).partition(": ")
    for (text, start), place in zip(references, places, strict=True):
        if place and place.kind:
            was, now = {"text": text, "answer_start": start}, {"text": place.text, "answer_start": place.start}
            read.repairs.append({"file": file, "record": place_in_file, "kind": place.kind, "was": was, "is": now})
    found = zip(references, places, strict=True)
    return tuple(Answer(place.text, place.start) if place else Answer(reference.text) for reference, place in found)


def _place(context: str, reference: Reference, repair: bool) -> Place | None:
    text, start = reference
    if start is not None and context.startswith(text, start):
        return Place(start, text, "")
    if start is None:
        found = list(islice(occurrences(context, text, whole_words=True), 2))
        if len(found) == 1:
            return Place(found[0], text, "")
    return repaired(context, text, start) if repair else None


def _misplaced(context: str, reference: Reference, where: str) -> tuple[str, str, str]:
    """Kind, place and words for an answer that is not where it should be."""
    text, start = reference
    if start is None:
        times = "more than once" if any(occurrences(context, text, whole_words=True)) else "not"
        problem = f"the answer {_short(text)} is {times} in the context, and has no answer_start"
        return "answer not located", where, problem
    there = _short(context[start : start + len(text)])
    return "misplaced answer", where, f"the answer {_short(text)} is not at answer_start {start} (there: {there})"


def _explain(error: ValidationError, where: str) -> tuple[str, str, str]:
    """Kind, place and words for pydantic's first complaint about a record."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "blank":
        return f"empty {name}", where, f"the {name} is empty"
    if first["type"] == "surrogate":
        return "not UTF-8", where, f"the field {name!r} holds half of a surrogate pair, which is no UTF-8"
    return "wrong type", where, f"the field {name!r} should be text, not {reprlib.repr(first['input'])}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")
