"""Record → example: its fields read, its answers found in the context, as far as the stage needs them."""

import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product, starmap
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from qa.data.example import Example, ReferenceAnswer
from qa.data.reading.answer_places import Place, occurrences, repaired_place
from qa.data.reading.fields import NO_LABEL, BadField, Reference, is_missing, read_flag, read_id, read_references
from qa.data.reading.languages import language_of, language_of_id, read_language
from qa.data.reading.record import SKIP_REMEDY, BadRecord, Columns, Record
from qa.data.reading.records import read_records
from qa.errors import UserError

# of the answers, what a stage needs: a place in the context for its loss, texts to score, or nothing
Need = Literal["places", "texts", "nothing"]
REPAIR_REMEDY = "fix it, skip and list such records with data.on_bad_record=skip, or try data.on_bad_record=repair"


@dataclass
class Examples:
    """The examples of one split in file order, and what happened to its records."""

    examples: list[Example] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)  # that were skipped
    repairs: list[dict[str, Any]] = field(default_factory=list)  # rows of repairs.jsonl
    assumed: list[tuple[str, str]] = field(default_factory=list)  # (why, place) of those taken as unanswerable
    unknown_languages: Counter[str] = field(default_factory=Counter)  # what records say of theirs
    unplaced: list[str] = field(default_factory=list)  # places of references that count for EM and F1 alone
    files: dict[str, Path] = field(default_factory=dict)  # {id: its file}

    @property
    def skipped(self) -> Counter[str]:
        """The number of bad records of each kind."""
        return Counter(bad.kind for bad in self.bad)

    @property
    def repaired(self) -> Counter[str]:
        """The number of repairs of each kind."""
        return Counter(row["kind"] for row in self.repairs)


def check_record(record: Record, repair: bool, need: Need, read: Examples) -> Example:
    """The example of a record; notes in `read` what was repaired or assumed. Errors: BadRecord."""
    fields = record.fields
    try:
        for key in ("question", "context"):
            if key not in fields:
                names = f"the field {key!r} is missing{_there(fields)}; give data.columns.{key}=NAME"
                raise BadField(f"missing {key}", names)
        unclear: list[str] = []
        references, is_impossible = _references(record, need, unclear)
        name, context = read_id(fields.get("id")) or record.number, fields["context"]
        if (language := read_language(named := fields.get("language"))) is None and not is_missing(named):
            read.unknown_languages[reprlib.repr(named)] += 1
        language = language or language_of_id(name)
        usable = references if isinstance(context, str) and context.strip() else []  # else the example is refused
        example = Example(
            id=name,
            question=fields["question"],
            context=context,
            answers=_answers(context, usable, repair, need, record, read),
            language=language,
            title=fields.get("title"),
            is_impossible=is_impossible,
        )
        read.assumed += [(why, record.spot()) for why in unclear]
        return example
    except BadField as bad:
        problem = bad.kind, str(bad)
    except ValidationError as error:
        problem = _explain(error)
    raise record.bad(*problem)  # not above: as the context of this error the others would be kept


def examples_to_ask(path: Path, columns: Columns = Columns(), need: Need = "nothing") -> Iterator[Example | BadRecord]:
    """Yields each record of a file as an example, or its error; keeps nothing."""
    read, language = Examples(), language_of(path)
    for record in read_records(path, columns):
        if isinstance(record, BadRecord):
            yield record
            continue
        try:
            example = check_record(record, repair=False, need=need, read=read)
            yield example if example.language else example.model_copy(update={"language": language})
        except BadRecord as bad:
            yield bad


def _there(fields: dict[str, Any]) -> str:
    """The names that a record has, for people."""
    return f" (there: {', '.join(fields['there'])[:500]})" if fields.get("there") else ""


def _references(record: Record, need: Need, unclear: list[str]) -> tuple[list[Reference], bool]:
    """The answers that the file gives, and whether the question is unanswerable. Errors: BadField, UserError.

    `unclear` takes why that had to be assumed.
    """
    fields, flag = record.fields, None
    answer = fields.get("answer")
    references: list[Reference] = []
    try:
        flag = read_flag(fields.get("is_impossible"))
        if flag is None and (answerable := read_flag(fields.get("is_answerable"), "answerable")) is not None:
            flag = not answerable
        if record.answer_problem:
            raise record.answer_problem
        references = read_references(answer, fields.get("answer_start"), fields.get("hint"))
    except (BadField, UserError):
        if need != "nothing" and not flag:
            raise
    if need == "nothing":
        return references, False
    if answer is None and not flag:
        remedy = "give data.columns.answer=NAME, or mark it as unanswerable by answers: []"
        raise BadField("no answer", f"it has no answer{_there(fields)}; {remedy}")
    says_none = answer == [] or (isinstance(answer, dict) and answer.get("text") == [])  # the latter is the hub's
    if flag and references:
        unclear.append("marked unanswerable, but with an answer")
    elif flag is False and not references:
        unclear.append("marked answerable, but with an empty answer")
    elif flag is None and not references and not says_none:
        unclear.append("without a label" if answer == NO_LABEL else "with an empty answer")
    return ([], True) if flag or not references else (references, False)


def _answers(
    context: str, references: Sequence[Reference], repair: bool, need: Need, record: Record, read: Examples
) -> tuple[ReferenceAnswer, ...]:
    """The references with their places. Errors: BadRecord where one place is needed and there is none."""
    plain = [(text, start) for text, start, _ in references if start is not None and context.startswith(text, start)]
    if len(plain) == len(references):
        return tuple(starmap(ReferenceAnswer, plain))
    places = [_place(context, reference, repair and need == "places") for reference in references]
    located = sum(place is not None for place in places)
    if not located and need == "places":
        raise _misplaced(record, context, references[0])
    read.unplaced += [record.spot()] * (len(references) - located) if need == "places" else []
    answers = []
    for (text, start, _), place in zip(references, places, strict=True):
        if place and place.kind:
            was, now = {"text": text, "answer_start": start}, {"text": place.text, "answer_start": place.start}
            read.repairs.append(record.repair(place.kind, was, now))
        answers.append(ReferenceAnswer(place.text, place.start) if place else ReferenceAnswer(text))
    return tuple(answers)


def _place(context: str, reference: Reference, repair: bool) -> Place | None:
    text, start, hint = reference
    for place, words in product((start, hint), (text, text.strip())):
        if place is not None and context.startswith(words, place):
            return Place(place, words, "")
    text = text if text in context else text.strip()
    if start is None:
        places = list(islice(occurrences(context, text, whole_words=True), 2))
        if len(places) == 1:
            return Place(places[0], text, "")
    return repaired_place(context, text, hint if start is None else start) if repair else None


def _misplaced(record: Record, context: str, reference: Reference) -> BadRecord:
    """The error for an answer that is not at its place."""
    text, start, hint = reference
    if start is not None:
        reason = f"is not at answer_start {start} (there: {shortened(context[start : start + len(text)])})"
        return record.bad("misplaced answer", f"the answer {shortened(text)} {reason}", REPAIR_REMEDY)
    several, remedy = any(occurrences(context, text, whole_words=True)), REPAIR_REMEDY
    where = "has no answer_start" if hint is None else f"does not begin at {hint}"
    if several and hint is None and (there := _there(record.fields)):
        where, remedy = where + there, SKIP_REMEDY.replace("fix it,", "fix it or give data.columns.answer_start=NAME,")
    reason = f"is {'more than once' if several else 'not'} in the context, and {where}"
    return record.bad("answer not located", f"the answer {shortened(text)} {reason}", remedy)


def _explain(error: ValidationError) -> tuple[str, str]:
    """Kind and reason of pydantic's first complaint about a record."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "blank":
        return f"empty {name}", f"the {name} is empty"
    if first["type"] == "surrogate" and re.search("[\udc80-\udcff]", str(first["input"])):  # as `as_text` reads bytes
        convert = "iconv -f cp1252 -t utf-8 would convert the file from cp1252"
        return "not UTF-8", f"the field {name!r} is not UTF-8 ({convert})"
    if first["type"] == "surrogate":
        return "not UTF-8", f"the field {name!r} holds half of a surrogate pair, which is no UTF-8"
    return "wrong type", f"the field {name!r} should be text, not {reprlib.repr(first['input'])}"


def shortened(text: str) -> str:
    """A text in quotes, its first 37 characters where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "…")
