"""Spans that annotators marked in a text → answers."""

import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from qa.data.reading.answer_places import inside_word
from qa.data.reading.fields import NO_LABEL, BadField
from qa.data.reading.record import FieldNames
from qa.errors import UserError

# where a span has its label, or a list of labels
LABEL_KEYS = ("labels", "hypertextlabels", "label", "tag")
BOUNDS = (("start", "end"), ("start_offset", "end_offset"))


class Span(NamedTuple):
    """A part of a text, by its bounds or by what it says, its labels, and the field of the file that it is from."""

    bounds: tuple[int, int] | None
    text: Any
    labels: tuple[str, ...]
    field: str


def span_of(value: Any, field: str) -> Span:
    """A span as an annotation tool writes it: an object, [0, 5, "ANSWER"], brat's ["T1", "ANSWER", [[0, 5]]], a text.

    Spans of HTML have their bounds in "globalOffsets", if anywhere. Errors: BadField.
    """
    bounds: Any = ()
    text: Any = None
    labels: Any = []
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict):
        there = value.get("globalOffsets") or value
        bounds = next(((there[a], there[b]) for a, b in BOUNDS if {a, b} <= there.keys()), bounds)
        text, labels = value.get("text"), next((value[name] for name in LABEL_KEYS if value.get(name) is not None), [])
    elif isinstance(value, list) and len(value) == 3 and isinstance(value[2], list) and len(value[2]) == 1:
        labels, bounds = value[1], value[2][0]
    elif isinstance(value, list) and len(value) > 1:
        bounds, labels = value[:2], value[2] if len(value) > 2 else []
    names = tuple(map(str, labels if isinstance(labels, list) else [labels]))
    if len(bounds) == 2 and all(isinstance(bound, int | float) for bound in bounds):
        return Span((int(bounds[0]), int(bounds[1])), text, names, field)
    if text:
        return Span(None, text, names, field)
    raise BadField("wrong label", f"a label that is no span and no text: {reprlib.repr(value)}")


def answers_of(spans: Sequence[Span], context: str, code: str, header: FieldNames) -> Any:
    """The answers that these spans are. Errors: BadField, and UserError where the user must choose among labels.

    Their bounds count units of `code` in the context: JavaScript's are of UTF-16, Python's of UTF-32.
    """
    units, size = context.encode(code, "surrogatepass"), len(" ".encode(code))
    answers = []
    for span in _chosen(spans, header):
        if span.bounds is None:
            answers.append({"text": span.text})
            continue
        if not span.text and not 0 <= span.bounds[0] < span.bounds[1] <= len(units) // size:
            raise BadField("wrong label", f"the label from {span.bounds[0]} to {span.bounds[1]} is not on the text")
        begin, end = (len(units[: size * bound].decode(code, "replace")) for bound in span.bounds)
        header.cut += not span.text and (inside_word(context, begin) or inside_word(context, end))
        answers.append({"text": span.text or context[begin:end], "answer_start": begin})
    return answers or NO_LABEL


def _chosen(spans: Sequence[Span], header: FieldNames) -> Sequence[Span]:
    """The spans with the label, or from the field, that the user named as the answer.

    Errors: UserError where the user named none, and there are several; BadField for spans with other labels alone.
    """
    wanted = header.columns.answer
    there = {name: span.field for span in spans for name in span.labels or (span.field,)}
    if wanted is None:
        header.labels |= there
        if not spans or len(header.labels) < 2:
            return spans
        whole = f", data.columns.answer={spans[0].field} for all of them" if len({*header.labels.values()}) == 1 else ""
        raise UserError(
            f"{header.file}: its spans have several labels ({', '.join(map(repr, header.labels))}); give"
            f" data.columns.answer=NAME for those with one label{whole}"
        )
    chosen = [span for span in spans if wanted in (span.field, *span.labels)]
    header.absent -= {wanted} if chosen else set()
    if spans and not chosen:
        raise BadField("another label", f"nothing has the label {wanted!r} (there: {', '.join(there)})")
    return chosen
