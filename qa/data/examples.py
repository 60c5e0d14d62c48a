"""Records → examples: every record checked, the bad ones named or counted."""

import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import ValidationError

from qa.console import track
from qa.data.example import Example
from qa.data.languages import Languages, language_of
from qa.data.record import BadRecord, Columns, Files, Record
from qa.data.records import find_files, plain_name, read_records
from qa.errors import UserError

OnBadRecord = Literal["error", "skip"]


class Examples(NamedTuple):
    """The examples of one split in file order, how many records were skipped, by kind, and each id's file."""

    examples: list[Example]
    skipped: Counter[str]
    files: Mapping[str, Path] = {}


def read_examples(
    files: Files,
    on_bad_record: OnBadRecord = "error",
    limit: int | None = None,
    need_answers: bool = True,
    columns: Columns = Columns(),
    languages: Languages | None = None,
) -> Examples:
    """Reads and checks one split; ids that recur across its files become `<file stem>/<id>`.

    `limit` takes the first questions only. Errors: BadRecord (a UserError) for the first record that cannot be used,
    unless `on_bad_record="skip"`; UserError for a file that cannot be read at all or a split without a question.
    """
    paths = find_files(files)
    per_file: list[list[Example]] = []
    skipped: Counter[str] = Counter()
    left = limit
    for path in paths:
        examples, bad = check_records(read_records(path, columns), on_bad_record, left, need_answers)
        if language := language_of(path, languages):
            examples = [example.model_copy(update={"language": language}) for example in examples]
        per_file.append(examples)
        skipped += bad
        left = None if left is None else left - len(examples)
        if left == 0:
            break
    examples = _unique_across_files(paths, per_file)
    if not examples:
        counts = ", ".join(f"{count} {kind}" for kind, count in skipped.items())
        note = f" (skipped: {counts})" if counts else ""
        raise UserError(f"{', '.join(map(str, paths))}: no question in it{note}; give a file that holds some")
    origins = [path for path, part in zip(paths, per_file, strict=False) for _ in part]
    return Examples(examples, skipped, dict(zip((example.id for example in examples), origins, strict=True)))


def check_records(
    records: Iterator[Record], on_bad_record: OnBadRecord, limit: int | None, need_answers: bool
) -> tuple[list[Example], Counter[str]]:
    """Checks the records of one file, whose ids must be unique; returns the good ones and counts the others."""
    examples: list[Example] = []
    skipped: Counter[str] = Counter()
    first_seen: dict[str, str] = {}
    contexts: dict[str, str] = {}  # each held once, whatever the questions on it
    for record in track(records, "reading questions", total=limit):
        try:
            example = _check(record, need_answers)
            if example.id in first_seen:
                raise BadRecord(
                    "repeated id", record.where, f"the id {example.id!r} is at {first_seen[example.id]} too"
                )
        except BadRecord as bad:
            if on_bad_record == "error":
                raise
            skipped[bad.kind] += 1
            continue
        first_seen[example.id] = record.where.rpartition(": ")[2]
        context = contexts.setdefault(example.context, example.context)
        examples.append(example if context is example.context else example.model_copy(update={"context": context}))
        if len(examples) == limit:
            break
    return examples, skipped


def _check(record: Record, need_answers: bool) -> Example:
    where, fields = record
    if isinstance(fields, BadRecord):
        raise fields
    if isinstance(fields, dict) and isinstance(fields.get("id"), str):
        where += f" (id {fields['id']!r})"
    if isinstance(fields, dict) and fields.get("is_impossible"):
        fields = {**fields, "answers": []}
    try:
        example = Example.model_validate(_located(fields, where))
    except ValidationError as error:
        first = error.errors()[0]
        kind, problem = _explain(first["type"], ".".join(map(str, first["loc"])), first["msg"], first["input"])
        raise BadRecord(kind, where, problem) from None
    if need_answers and not (example.answers or example.is_impossible):
        raise BadRecord("no answer", where, "it has no answer")
    for answer in example.answers:
        assert answer.answer_start is not None
        found = example.context[answer.answer_start : answer.answer_start + len(answer.text)]
        if not answer.text.strip():
            raise BadRecord("empty answer", where, "an answer is empty")
        if found != answer.text:
            raise BadRecord(
                "misplaced answer",
                where,
                f"the answer {_short(answer.text)} is not at answer_start {answer.answer_start}"
                f" (there: {_short(found)})",
            )
    return example


def _located(fields: Any, where: str) -> Any:
    """The fields with each answer that lacks its answer_start found in the context, where it occurs exactly once."""
    context, answers = (fields.get("context"), fields.get("answers")) if isinstance(fields, dict) else (None, None)
    if not isinstance(context, str) or not isinstance(answers, list):
        return fields
    found = []
    for answer in answers:
        text = answer.get("text") if isinstance(answer, dict) and answer.get("answer_start") is None else None
        if isinstance(text, str) and text.strip():
            begin = context.find(text)
            if begin < 0 or context.find(text, begin + 1) >= 0:
                times = "not" if begin < 0 else "more than once"
                problem = f"the answer {_short(text)} is {times} in the context, and has no answer_start"
                raise BadRecord("answer not located", where, problem)
            answer = {**answer, "answer_start": begin}
        found.append(answer)
    return {**fields, "answers": found}


def split_by_paragraph(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples, in file order: whole paragraphs, drawn until they hold `share` of all.

    Errors: UserError where there is one paragraph only.
    """
    contexts: dict[str, list[Example]] = {}
    for example in examples:
        contexts.setdefault(example.context, []).append(example)
    names, count = list(contexts), 0
    held_out: set[str] = set()
    for row in np.random.default_rng(seed).permutation(len(contexts)):
        if count >= share * len(examples) or len(held_out) == len(names) - 1:
            break
        context = names[row]
        held_out.add(context)
        count += len(contexts[context])
    train = [example for example in examples if example.context not in held_out]
    validation = [example for example in examples if example.context in held_out]
    if not (train and validation):
        raise UserError(f"data.validation_share={share}: all questions are on one paragraph; give a validation_file")
    return train, validation


SHOULD_BE = {
    "string_type": "text",
    "int_type": "a whole number",
    "greater_than_equal": "0 or more",
    "tuple_type": "a list of answers",
    "model_type": 'an object {"text", "answer_start"}',
}


def _explain(kind: str, field: str, message: str, value: Any) -> tuple[str, str]:
    """Kind and words for pydantic's first complaint about a record."""
    if kind == "missing":
        return f"missing {field.rpartition('.')[2]}", f"the field {field!r} is missing"
    if kind == "blank":
        return f"empty {field}", f"the {field} is empty"
    if kind == "surrogate":
        return "not UTF-8", f"the field {field!r} holds half of a surrogate pair, which is no UTF-8"
    if not field:
        return "wrong type", "a question must be an object with id, question, context and answers"
    if kind in SHOULD_BE:
        return "wrong type", f"the field {field!r} should be {SHOULD_BE[kind]}, not {reprlib.repr(value)}"
    return "wrong type", f"the field {field!r}: {message[0].lower()}{message[1:]}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")


def _unique_across_files(paths: list[Path], per_file: list[list[Example]]) -> list[Example]:
    counts = Counter(example.id for examples in per_file for example in examples)
    result: dict[str, Example] = {}
    for path, examples in zip(paths, per_file, strict=False):
        stem = plain_name(path).rpartition(".")[0]
        for example in examples:
            if counts[example.id] > 1:
                example = example.model_copy(update={"id": f"{stem}/{example.id}"})
            if example.id in result:
                raise UserError(f"{path}: the id {example.id!r} is in another file of this name; rename one file")
            result[example.id] = example
    return list(result.values())
