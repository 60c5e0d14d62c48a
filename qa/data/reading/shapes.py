"""Objects of JSON → records: a reader for each known shape, recognised by its keys."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from qa.data.reading.answer_places import fold
from qa.data.reading.fields import BadField, read_literal
from qa.data.reading.record import BadRecord, FieldNames, Record
from qa.data.reading.spans import answers_of, span_of
from qa.errors import UserError

JsonObject = dict[str, Any]
Records = Iterator[Record | BadRecord]
Marks = Sequence[tuple[Any, str]]  # spans as a file has them, each with the name of its field
Problem = BadField | UserError | None  # why a record's answer cannot be read
DOCCANO_LABELS = ("entities", "label", "labels", "annotations")  # doccano's names for its labels
NO_SPANS = {"choices", "rating", "number", "taxonomy"}  # Label Studio's results about a span


class Shape(NamedTuple):
    """A shape of objects: the keys by which it is recognised, its reader, and its row in docs/data.md.

    `one_of`: alternative keys; it has at least one of them, if there are any.
    """

    name: str
    keys: frozenset[str]
    read: Callable[[JsonObject, str, int, FieldNames], Records]
    example: str
    one_of: tuple[str, ...] = ()


def records_of(row: Any, place: str, index: int, header: FieldNames) -> Records:
    """The records of one object: an article, a paragraph, a task of an annotation tool, or a question.

    `index`: of the object among those of its file.
    """
    if not isinstance(row, dict):
        yield BadRecord(header.file, place, row, "wrong type", "it must be an object")
        return
    if row.keys() == {"header"}:  # MRQA's first line, which holds no question
        return
    shape = shape_of(row, header)
    try:
        yield from shape.read(row, place, index, header)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = f"looks like {shape.name}, but cannot be read as such ({type(error).__name__}: {error})"
        yield BadRecord(header.file, place, row, "wrong type", problem)


def records_of_cells(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """The records of a row of a table; its cells may hold lists and objects, written as text."""
    if shape_of(row, header) is QUESTION:
        yield Record(header.file, place, header.cells(row), str(index + 1))
        return
    names = header.names(tuple(row))
    texts = {"text", *names.get("question", ()), *names.get("context", ())}
    cells = {name: cell if name in texts else read_literal(cell) for name, cell in row.items()}
    yield from records_of(cells, place, index, header)


def shape_of(names: Iterable[str], header: FieldNames) -> Shape:
    """The shape of an object, or of a row of a table, that has these keys."""
    there = tuple(names)
    shape = _by_keys(there)
    # a question may have a text and a label beside its context
    return QUESTION if shape.read is _doccano and "context" in header.names(there) else shape


@lru_cache(1024)
def _by_keys(there: tuple[str, ...]) -> Shape:
    keys = set(there)
    return next(shape for shape in SHAPES if shape.keys <= keys and (not shape.one_of or keys & {*shape.one_of}))


def _article(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    shared = {key: value for key, value in row.items() if key in ("title", "language", "lang")}
    for member in _members(row, "paragraphs", "paragraph", place, header):
        if isinstance(member, BadRecord):
            yield member
        else:
            number, spot, paragraph = member
            yield from _paragraph({**shared, **paragraph}, spot, f"{index}.{number}", header)


def _paragraph(row: JsonObject, place: str, group: int | str, header: FieldNames) -> Records:
    shared = {key: value for key, value in header.fields(row).items() if key in ("context", "title", "language")}
    for member in _members(row, "qas", "question", place, header):
        if isinstance(member, BadRecord):
            yield member
            continue
        number, spot, question = member
        fields = {**shared, **header.fields(question), "there": (*row, *question)}
        if "detected_answers" in question:
            fields["answer"] = _mrqa_answers(question, fields.get("context"))
        yield Record(header.file, spot, fields, f"{group}/{number}", f"{group}")


def _members(
    parent: JsonObject, key: str, noun: str, place: str, header: FieldNames
) -> Iterator[tuple[int, str, JsonObject] | BadRecord]:
    """The objects in `parent[key]`, each with its number and place; a BadRecord for what is none, or for no list."""
    members = [parent[key]] if isinstance(parent.get(key), dict) else parent.get(key)
    if not isinstance(members, list):
        kind, problem = ("wrong type", "must be a list") if key in parent else (f"missing {key}", "is missing")
        yield BadRecord(header.file, place, parent, kind, f"the field {key!r} {problem}")
        return
    for number, member in enumerate(members):
        spot = f"{place}, {noun} {number}"
        if isinstance(member, dict):
            yield number, spot, member
        else:
            yield BadRecord(header.file, spot, member, "wrong type", "it must be an object")


def _mrqa_answers(question: JsonObject, context: Any) -> Any:
    """MRQA's detected answers, where `char_spans` include the last character, then the texts of its `answers`."""
    there = question["detected_answers"] or []
    if isinstance(there, dict):  # the hub's: a list for each field
        places = [zip(spans["start"], spans["end"], strict=True) for spans in there["char_spans"]]
        there = [{"text": text, "char_spans": spans} for text, spans in zip(there["text"], places, strict=True)]
    spans = [
        (detected["text"], begin, context[begin : end + 1])
        for detected in there
        for begin, end in (detected.get("char_spans") or [] if isinstance(context, str) else [])
    ]
    if not spans:
        return question.get("answers")
    located = [  # a text that is not there is refused or repaired later
        {"text": there if fold(text)[0].lower() == fold(there)[0].lower() else text, "answer_start": begin}
        for text, begin, there in spans
    ]
    texts = {answer["text"] for answer in located}
    return [*located, *({"text": text} for text in question.get("answers") or [] if text not in texts)]


def _mrqa_question(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    fields = header.fields(row)
    yield Record(header.file, place, {**fields, "answer": _mrqa_answers(row, fields.get("context"))}, str(index + 1))


def _haystack(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """A label of Haystack 1: an answer, and whether an annotator called it right."""
    is_wrong = row.get("is_correct_answer") is False
    problem = BadField("not accepted", "its annotator called the answer wrong") if is_wrong else None
    fields = header.fields({**row, "context": row["document"]["content"]})
    yield Record(header.file, place, fields, str(index + 1), answer_problem=problem)


def _natural_question(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """Natural Questions, simplified: places are tokens of a text that is split at single spaces."""
    text = str(row["document_text"])
    starts = list(accumulate((len(token) + 1 for token in text.split(" ")), initial=0))
    answers, kinds = [], set()
    for annotation in row["annotations"]:
        if annotation.get("yes_no_answer", "NONE") not in ("NONE", -1, 0):
            kinds.add("a yes or no")
        elif not annotation.get("short_answers") and annotation["long_answer"]["start_token"] >= 0:
            kinds.add("a long answer only")
        for short in annotation.get("short_answers") or []:
            begin, end = starts[short["start_token"]], starts[short["end_token"]] - 1
            answers.append({"text": text[begin:end], "answer_start": begin})
    problem = None
    if kinds and not answers:
        problem = BadField("no short answer", f"its answer is {' and '.join(sorted(kinds))}, not a part of the text")
    fields = {"id": row.get("example_id"), "question": row["question_text"], "context": text, "answer": answers}
    yield Record(header.file, place, fields, str(index + 1), answer_problem=problem)


def _label_studio(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """A task of Label Studio (JSON): the spans that annotators marked in `data`'s text, and what they chose beside."""
    annotations = row.get("annotations", row.get("completions")) or []
    submitted = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    results = [result for annotation in submitted for result in annotation.get("result") or []]
    results = [result for result in results if result.get("to_name") != "question" and result.get("value")]
    values = [(result["value"], str(result.get("from_name"))) for result in results]
    chosen = {name: value["choices"][0] for value, name in values if value.get("choices")}
    marks = [(v, name) for v, name in values if {"start", "text"} & v.keys() and not NO_SPANS & v.keys()]
    problem = None
    if not submitted:
        problem = BadField("not annotated", "the task has no annotation that was submitted")
    elif values and not marks:
        names = ", ".join(dict.fromkeys(name for _, name in values))
        problem = BadField("no span", f"nothing is marked in its text; it has {names}")
    yield _marked({"id": row.get("id"), **chosen, **row["data"]}, marks, place, index, header, "utf-16-le", problem)


def _argilla(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """A record of Argilla: `responses` holds, by the name of a question to annotators, what each of them answered."""
    responses = row["responses"] or {}
    if isinstance(responses, list):  # Argilla 1: a response of each annotator, with the values of all questions
        by_name = [(name, [each | value]) for each in responses for name, value in (each["values"] or {}).items()]
    else:
        by_name = [(name, values or []) for name, values in responses.items()]
    submitted = [
        (response["value"], name)
        for name, values in by_name
        for response in values
        if response.get("status") != "discarded" and isinstance(response.get("value"), str | list)
    ]
    marks = [(v, name) for value, name in submitted for v in (value if isinstance(value, list) else [value])]
    problem = None if submitted else BadField("not annotated", "the record has no response that was submitted")
    yield _marked({"id": row.get("id"), **row["fields"]}, marks, place, index, header, "utf-32-le", problem)


def _label_studio_min(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """A task of Label Studio (JSON_MIN, CSV): the spans are in the field that has the name of the control tag."""
    lists = ((name, value) for name, values in row.items() if isinstance(values, list) for value in values)
    marks = [(v, name) for name, v in lists if isinstance(v, dict) and {"start", "end"} <= v.keys()]
    yield _marked(row, marks, place, index, header, "utf-16-le")


def _prodigy(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """A task of Prodigy: `answer` is the annotator's decision on it."""
    task = {**(row.get("meta") or {}), **{key: value for key, value in row.items() if key != "answer"}}
    marks = [(value, "spans") for value in row.get("spans") or []]
    is_accepted = row["answer"] == "accept"
    problem = None if is_accepted else BadField("not accepted", f"its annotator chose {row['answer']!r}, not 'accept'")
    yield _marked(task, marks, place, index, header, "utf-32-le", problem)


def _doccano(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    """A text of doccano: spans as [begin, end, label] or as objects, or the answers' texts."""
    name = next(key for key in DOCCANO_LABELS if key in row)
    values = row[name] if isinstance(row[name], list) else [row[name]] if row[name] else []
    task = {**(row.get("meta") or {}), **row}
    yield _marked(task, [(value, name) for value in values], place, index, header, "utf-32-le")


def _marked(
    row: JsonObject, marks: Marks, place: str, index: int, header: FieldNames, code: str, problem: Problem = None
) -> Record | BadRecord:
    """The record of a text with marks, whose bounds count units of `code`, or with the problem why it has none."""
    fields = header.fields(row)
    text = next((row[key] for key in ("text", "data") if isinstance(row.get(key), str)), None)
    context = fields.setdefault("context", text)
    if not isinstance(context, str):
        reason = f"it has no text (there: {', '.join(row)[:500]}); give data.columns.context=NAME"
        return BadRecord(header.file, place, row, "missing context", reason)
    if not problem and (marks or not fields.get("answer")):
        try:
            fields["answer"] = answers_of([span_of(*mark) for mark in marks], context, code, header)
        except (BadField, UserError) as error:
            problem = error
    return Record(header.file, place, fields, str(index + 1), answer_problem=problem)


def _question(row: JsonObject, place: str, index: int, header: FieldNames) -> Records:
    yield Record(header.file, place, header.fields(row), str(index + 1))


QUESTION = Shape(
    "a question (run_qa.py, pandas, the hub)", frozenset(), _question, '`{"id", "question", "context", "answers"}`'
)
SHAPES = (
    Shape("SQuAD", frozenset({"paragraphs"}), _article,
          '`{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": […], "is_impossible"}]}]}`'),
    Shape("a paragraph with its questions (simpletransformers, CMRC), MRQA", frozenset({"qas"}), _paragraph,
          '`{"context", "qas": […]}`; MRQA: `{"qid", "question", "answers", "detected_answers"}`'),
    Shape("MRQA, of the hub", frozenset({"context", "detected_answers"}), _mrqa_question,
          '`{"qid", "question", "context", "answers", "detected_answers": {"text": […], "char_spans": […]}}`'),
    Shape("Haystack's labels", frozenset({"query", "document", "is_correct_answer"}), _haystack,
          '`{"query", "document": {"content"}, "answer": {"answer", "offsets_in_document"}, "is_correct_answer"}`'),
    Shape("Natural Questions, simplified", frozenset({"document_text", "question_text", "annotations"}),
          _natural_question, '`{"example_id", "question_text", "document_text", "annotations"}`'),
    Shape("Label Studio, JSON", frozenset({"data"}), _label_studio,
          '`{"data": {"text", "question"}, "annotations": [{"result": [{"value": {"start", "end", "text"}}]}]}`',
          ("annotations", "completions", "predictions")),
    Shape("Argilla", frozenset({"fields", "responses"}), _argilla,
          '`{"fields": {"text", "question"}, "responses": {"answer": [{"value": [{"start", "end"}]}]}}`'),
    Shape("Label Studio, JSON_MIN", frozenset({"annotation_id"}), _label_studio_min,
          '`{"text", "question", "label": [{"start", "end", "text"}], "annotation_id"}`'),
    Shape("Prodigy", frozenset({"text", "answer"}), _prodigy,
          '`{"text", "question", "spans": [{"start", "end"}], "answer": "accept"}`, the question also in "meta"',
          ("spans", "_task_hash")),
    Shape("doccano", frozenset({"text"}), _doccano,
          '`{"text", "question", "label": [[0, 5, "ANSWER"]]}` or `"label": ["the answer\'s text"]`; also "labels",'
          ' "entities", "annotations" with {"start_offset", "end_offset"}', DOCCANO_LABELS),
    Shape("doccano, of some versions", frozenset({"data"}), _doccano,
          '`{"data": "…", "question", "label": [[0, 5, "ANSWER"]]}`', DOCCANO_LABELS),
    QUESTION,
)  # fmt: skip
