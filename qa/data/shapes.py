"""Objects of JSON → records: a reader for each shape that is known, recognised by its keys."""

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from qa.data.fields import BadField
from qa.data.places import fold
from qa.data.record import BadRecord, Named, Record

Row = dict[str, Any]


class Shape(NamedTuple):
    """A shape of objects: the keys by which it is recognised, its reader, and its row in docs/data.md."""

    name: str
    keys: frozenset[str]
    read: "Callable[[Row, str, int, Named], Iterator[Record]]"
    example: str


def records_of(row: Any, where: str, index: int, named: Named) -> Iterator[Record]:
    """The records of one object: an article, a paragraph, a task of an annotation tool, or a question.

    `index`: of the object among those of its file.
    """
    if not isinstance(row, dict):
        yield Record(where, BadRecord("wrong type", where, "it must be an object"))
        return
    if row.keys() == {"header"}:  # MRQA's first line, which holds no question
        return
    shape = next(shape for shape in SHAPES if shape.keys <= row.keys())
    try:
        yield from shape.read(row, where, index, named)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = f"looks like {shape.name}, but cannot be read as such ({type(error).__name__}: {error})"
        yield Record(where, BadRecord("wrong type", where, problem))


def _article(row: Row, where: str, index: int, named: Named) -> Iterator[Record]:
    for number, paragraph in _members(row, "paragraphs", where):
        spot = f"{where}, paragraph {number}"
        if isinstance(paragraph, BadRecord):
            yield Record(where if number < 0 else spot, paragraph)
        else:
            yield from _questions({"title": row.get("title"), **paragraph}, spot, f"{index}.{number}", named)


def _paragraph(row: Row, where: str, index: int, named: Named) -> Iterator[Record]:
    yield from _questions(row, where, str(index), named)


def _questions(row: Row, where: str, group: str, named: Named) -> Iterator[Record]:
    given = {key: value for key, value in named.fields(row).items() if key in ("context", "title")}
    for number, question in _members(row, "qas", where):
        spot = where if number < 0 else f"{where}, question {number}"
        if isinstance(question, BadRecord):
            yield Record(spot, question)
        else:
            fields = {**given, **named.fields(question)}
            if "detected_answers" in question:
                fields["answer"] = _mrqa_answers(question, fields.get("context"))
            yield Record(spot, fields, f"{group}/{number}", group)


def _members(parent: Row, key: str, where: str) -> Iterator[tuple[int, Any]]:
    """The objects in `parent[key]` with their index; BadRecords where the structure is broken (-1: all of it)."""
    if key not in parent:
        yield -1, BadRecord(f"missing {key}", where, f"the field {key!r} is missing")
    elif not isinstance(parent[key], list):
        yield -1, BadRecord("wrong type", where, f"the field {key!r} must be a list")
    else:
        for index, member in enumerate(parent[key]):
            spot = f"{where}, {'paragraph' if key == 'paragraphs' else 'question'} {index}"
            yield index, member if isinstance(member, dict) else BadRecord("wrong type", spot, "it must be an object")


def _mrqa_answers(question: Row, context: Any) -> Any:
    """MRQA's detected answers, whose `char_spans` include their last character, then the texts of its `answers`."""
    spans = [
        (detected["text"], begin, context[begin : end + 1])
        for detected in question["detected_answers"] or []
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


def _natural_question(row: Row, where: str, index: int, _: Named) -> Iterator[Record]:
    """Natural Questions, simplified: places are tokens of a text that is split at single spaces."""
    text = str(row["document_text"])
    starts = list(accumulate((len(token) + 1 for token in text.split(" ")), initial=0))
    found, kinds = [], set()
    for annotation in row["annotations"]:
        if annotation.get("yes_no_answer", "NONE") not in ("NONE", -1, 0):
            kinds.add("a yes or no")
        elif not annotation.get("short_answers") and annotation["long_answer"]["start_token"] >= 0:
            kinds.add("a long answer only")
        for short in annotation.get("short_answers") or []:
            begin, end = starts[short["start_token"]], starts[short["end_token"]] - 1
            found.append({"text": text[begin:end], "answer_start": begin})
    what = " and ".join(sorted(kinds))
    none = BadField("no short answer", f"its answer is {what}, not a part of the text")
    answer = none if kinds and not found else found
    fields = {"id": row.get("example_id"), "question": row["question_text"], "context": text, "answer": answer}
    yield Record(where, fields, str(index + 1))


def _label_studio(row: Row, where: str, index: int, named: Named) -> Iterator[Record]:
    """A task of Label Studio (JSON): the spans that annotators marked in `data`'s text."""
    made = [a for a in row["annotations"] if not a.get("was_cancelled")]
    results = [result for annotation in made for result in annotation.get("result") or []]
    values = [result.get("value") or {} for result in results if result.get("to_name") != "question"]
    record = _marked({"id": row.get("id"), **row["data"]}, values, where, index, named)
    if not made and isinstance(record.fields, dict):
        record.fields["answer"] = BadField("not annotated", "the task has no annotation that was submitted")
    yield record


def _label_studio_min(row: Row, where: str, index: int, named: Named) -> Iterator[Record]:
    """A task of Label Studio (JSON_MIN): the spans are in the field that has the name of the control tag."""
    lists = [value for value in row.values() if isinstance(value, list)]
    values = [v for members in lists for v in members if isinstance(v, dict) and {"start", "end"} <= v.keys()]
    yield _marked(row, values, where, index, named)


def _prodigy(row: Row, where: str, index: int, named: Named) -> Iterator[Record]:
    """A task of Prodigy: `answer` is what the annotator did with it."""
    task = {**(row.get("meta") or {}), **{key: value for key, value in row.items() if key != "answer"}}
    record = _marked(task, row["spans"] or [], where, index, named, "utf-32-le")
    if row["answer"] != "accept" and isinstance(record.fields, dict):
        record.fields["answer"] = BadField("not accepted", f"its annotator chose {row['answer']!r}, not 'accept'")
    yield record


def _doccano(row: Row, where: str, index: int, named: Named) -> Iterator[Record]:
    """A text of doccano: spans as [begin, end, label] or as objects."""
    if "context" in named.fields(row):
        yield from _question(row, where, index, named)
        return
    spans = next(row[key] for key in ("entities", "label") if key in row)
    places = [(s["start_offset"], s["end_offset"]) if isinstance(s, dict) else (s[0], s[1]) for s in spans or []]
    values = [{"start": begin, "end": end} for begin, end in places]
    yield _marked({**(row.get("meta") or {}), **row}, values, where, index, named, "utf-32-le")


def _marked(row: Row, values: list[Row], where: str, index: int, named: Named, code: str = "utf-16-le") -> Record:
    """`values`: spans {"start", "end", "text"}, or texts alone, which are searched.

    Their places count units of `code` in the context: JavaScript's are of UTF-16, Python's of UTF-32. Spans of HTML
    have theirs in `globalOffsets`, if anywhere.
    """
    fields = named.fields(row)
    if "context" not in fields and isinstance(row.get("text"), str):
        fields["context"] = row["text"]
    if not isinstance(context := fields.get("context"), str):
        return Record(where, BadRecord("missing context", where, "it has no text; give data.columns.context=NAME"))
    units, size = context.encode(code, "surrogatepass"), len(" ".encode(code))
    answers = []
    for value in values:
        places = value.get("globalOffsets") or value
        if all(isinstance(places.get(key), int | float) for key in ("start", "end")):
            begin, end = (len(units[: size * int(places[key])].decode(code, "replace")) for key in ("start", "end"))
            answers.append({"text": value.get("text") or context[begin:end], "answer_start": begin})
        elif value.get("text"):
            answers.append({"text": value["text"]})
    own = {"answer": fields["answer"]} if fields.get("answer") and not answers else {"answer": answers}
    return Record(where, {**fields, **own}, str(index + 1))


def _question(row: Row, where: str, index: int, named: Named) -> Iterator[Record]:
    yield Record(where, named.fields(row), str(index + 1))


SHAPES = (
    Shape("SQuAD", frozenset({"paragraphs"}), _article,
          '`{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": […], "is_impossible"}]}]}`'),
    Shape("a paragraph with its questions (simpletransformers, CMRC), MRQA", frozenset({"qas"}), _paragraph,
          '`{"context", "qas": […]}`; MRQA: `{"qid", "question", "answers", "detected_answers"}`'),
    Shape("Natural Questions, simplified", frozenset({"document_text", "question_text", "annotations"}),
          _natural_question, '`{"example_id", "question_text", "document_text", "annotations"}`'),
    Shape("Label Studio, JSON", frozenset({"annotations", "data"}), _label_studio,
          '`{"data": {"text", "question"}, "annotations": [{"result": [{"value": {"start", "end", "text"}}]}]}`'),
    Shape("Label Studio, JSON_MIN", frozenset({"annotation_id"}), _label_studio_min,
          '`{"text", "question", "label": [{"start", "end", "text"}], "annotation_id"}`'),
    Shape("Prodigy", frozenset({"text", "spans", "answer"}), _prodigy,
          '`{"text", "question", "spans": [{"start", "end"}], "answer": "accept"}`, the question also in "meta"'),
    Shape("doccano", frozenset({"text", "label"}), _doccano, '`{"text", "question", "label": [[0, 5, "ANSWER"]]}`'),
    Shape("doccano, with relations", frozenset({"text", "entities"}), _doccano,
          '`{"text", "question", "entities": [{"start_offset", "end_offset"}]}`'),
    Shape("a question (run_qa.py, pandas, the hub)", frozenset(), _question,
          '`{"id", "question", "context", "answers"}`'),
)  # fmt: skip
