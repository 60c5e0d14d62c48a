"""Faults of a file's questions: those that the reader knows, and those that show when questions are compared."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from qa.data.example import Example
from qa.data.quality.mojibake import garbled_texts
from qa.data.quality.near_duplicates import near_duplicates
from qa.data.reading.answer_places import inside_word
from qa.data.reading.checked import Examples, shortened
from qa.data.reading.overlap import comparable, shared_examples
from qa.errors import in_flags

REPAIRS = {  # kinds of rows of repairs.jsonl
    "place": "answer near its place",
    "far": "answer far from its place",
    "spelling": "answer spelt otherwise in the context",
    "case": "answer in other capitals than in the context",
    "garbled": "answer with garbled letters",
    "repeated id": "repeated id",
    "restarting id": "id that restarts in every paragraph",
}
OF_IDS = {REPAIRS["repeated id"], REPAIRS["restarting id"]}
GARBLED, UNSURE = "garbled letters", "garbled letters that cannot be restored for sure"
REPEAT = "question that repeats another one, with its answers"
REPAIRED, OMITTED, LISTED = "repaired by --fix", "left out by --fix", "not changed by --fix"

Fault = tuple[str, str]  # its kind, and where it is with what is there


class Finding(NamedTuple):
    """The faults of one kind; `of`: how many there are that could have it, such as (1190, "question")."""

    kind: str
    places: list[str]
    of: tuple[int, str]
    fix: str


def findings(read: Examples, restored: Sequence[Example], training: Sequence[Example] = ()) -> list[Finding]:
    """The faults of a file by kind, and what it shares with the examples of `training`.

    `restored`: the examples of `read` with their letters restored.
    """
    examples = read.examples
    records, questions = (len(examples) + len(read.bad), "record"), (len(examples), "question")
    contexts = len({example.context for example in examples}), "context"
    references = sum(len(example.answers) for example in examples), "reference"
    garbled = list(_garbled(examples, restored))
    repairs = [(REPAIRS[row["kind"]], _change(row)) for row in read.repairs]
    return [
        *by_kind(((bad.kind, f"{bad.place}: {in_flags(bad.reason)}") for bad in read.bad), records, OMITTED),
        *by_kind((fault for fault in repairs if fault[0] not in OF_IDS), references, REPAIRED),
        *by_kind((fault for fault in repairs if fault[0] in OF_IDS), questions, REPAIRED),
        *by_kind(
            ((f"question {why}, taken as unanswerable", place) for why, place in read.assumed), questions, REPAIRED
        ),
        *by_kind((fault for fault in garbled if fault[0] == GARBLED), questions, REPAIRED),
        *by_kind((fault for fault in garbled if fault[0] == UNSURE), questions, LISTED),
        *by_kind(_repeated(restored), questions, OMITTED),
        *by_kind((("reference without a place", place) for place in read.unplaced), references, LISTED),
        *by_kind(_contradictions(examples), questions, LISTED),
        *by_kind(_cut_answers(examples), questions, LISTED),
        *by_kind(_near_duplicates(examples), contexts, LISTED),
        *by_kind(_shared(examples, training), questions, LISTED),
        *by_kind(_near_duplicates(examples, training), contexts, LISTED),
    ]


def by_kind(faults: Iterable[Fault], of: tuple[int, str], fix: str) -> list[Finding]:
    """The faults of each kind, as they come."""
    places: dict[str, list[str]] = {}
    for kind, place in faults:
        places.setdefault(kind, []).append(place)
    return [Finding(kind, some, of, fix) for kind, some in places.items()]


def repeats(examples: Sequence[Example]) -> dict[str, str]:
    """{id: the id of the first question with the same text, context and answers} of each further one."""
    firsts: dict[tuple[Any, ...], str] = {}
    same = {e.id: firsts.setdefault((e.question, e.context, e.answers, e.is_impossible), e.id) for e in examples}
    return {name: first for name, first in same.items() if first != name}


def _change(row: dict[str, Any]) -> str:
    was, now = (
        " at ".join(f"{value!r}" for value in row[name].values() if value is not None) for name in ("was", "is")
    )
    return f"{row['record']}: {was} → {now}"


def _garbled(examples: Sequence[Example], restored: Sequence[Example]) -> Iterator[Fault]:
    """The first piece of each kind in each example."""
    for example, other in zip(examples, restored, strict=True):
        pieces = {piece.is_restored: piece for piece in reversed([*garbled_texts(example, other)])}
        for is_restored, piece in pieces.items():
            yield GARBLED if is_restored else UNSURE, f"id {example.id!r}: {piece.was!r} → {piece.now!r}"


def _repeated(examples: Sequence[Example]) -> Iterator[Fault]:
    for name, first in repeats(examples).items():
        yield REPEAT, f"id {name!r} repeats id {first!r}"


def _contradictions(examples: Sequence[Example]) -> Iterator[Fault]:
    """Questions with another answer than the first one with their text on their context."""
    firsts: dict[tuple[str, str], Example] = {}
    for example in examples:
        first = firsts.setdefault((example.context, comparable(example.question)), example)
        if not _agree(first, example):
            answers = " and ".join(f"{_answer(some)} (id {some.id!r})" for some in (first, example))
            yield "question with answers that contradict each other", f"{example.question!r}: {answers}"


def _agree(one: Example, other: Example) -> bool:
    """Whether some answers share characters of the context, or are the same text elsewhere."""
    if one.is_impossible != other.is_impossible:
        return False
    texts, others = ({comparable(answer.text) for answer in example.answers} for example in (one, other))
    meet = any(begin < last and first < end for begin, end in _spans(one) for first, last in _spans(other))
    return meet or not texts.isdisjoint(others) or one.answers == other.answers


def _spans(example: Example) -> list[tuple[int, int]]:
    return [(begin, begin + len(text)) for text, begin in example.answers if begin is not None]


def _answer(example: Example) -> str:
    return shortened(example.answers[0].text) if example.answers else "no answer"


def _cut_answers(examples: Sequence[Example]) -> Iterator[Fault]:
    for example in examples:
        begin, end = example.label or (0, 0)
        if inside_word(example.context, begin) or inside_word(example.context, end):
            around = example.context[max(begin - 10, 0) : end + 10]
            place = f"id {example.id!r}: {shortened(example.context[begin:end])} in {shortened(around)}"
            yield "answer that begins or ends inside a word", place


def _shared(examples: Sequence[Example], training: Sequence[Example]) -> Iterator[Fault]:
    for example, is_repeated in shared_examples(training, examples):
        kind = "question that --against asks, too" if is_repeated else "question on a context that --against has, too"
        yield kind, f"id {example.id!r}"


def _near_duplicates(examples: Sequence[Example], training: Sequence[Example] | None = None) -> Iterator[Fault]:
    """Contexts that are nearly the same as one before them, or as one of training, but not quite."""
    names = _names(examples)
    others, kind = (names, "before it") if training is None else (_names(training), "of --against")
    for context, other, share in near_duplicates(list(names), None if training is None else list(others)):
        if training is None or comparable(context) != comparable(other):
            alike = f"{share:.0%} like that of {others[other]}"
            yield f"context nearly like one {kind}", f"{shortened(context)} ({names[context]}), {alike}"


def _names(examples: Sequence[Example]) -> dict[str, str]:
    """{context: its first question, by id}, in file order."""
    names: dict[str, str] = {}
    for example in examples:
        names.setdefault(example.context, f"id {example.id!r}")
    return names
