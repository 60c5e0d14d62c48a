"""Finds where an answer stands in its context, and repairs a place that is a little off."""

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

NEAR = 10  # characters between a wrong place and the right one


class Place(NamedTuple):
    """Where an answer stands: its first character, its text as the context spells it, and what was repaired."""

    start: int
    text: str
    kind: str


def occurrences(context: str, text: str) -> Iterator[int]:
    """The places of a text, overlapping ones included."""
    begin = context.find(text)
    while begin >= 0:
        yield begin
        begin = context.find(text, begin + 1)


def repaired(context: str, text: str, start: int | None) -> Place | None:
    """The only place within NEAR characters of `start` (None: anywhere) where the text stands; None without one.

    A no-break space is a space, and marks and normal forms do not count: "cafe" stands where "café" does.
    """
    first = 0 if start is None else max(0, start - NEAR)
    last = len(context) if start is None else start + NEAR
    text = text.strip()
    exact = [first + begin for begin in occurrences(context[first : last + len(text)], text)]
    if exact:
        return Place(exact[0], text, "place") if len(exact) == 1 else None
    # a letter may be several characters: marks are apart in some normal forms
    part = context[first : last + 4 * len(text)]
    folded, index = fold(part)
    wanted, _ = fold(text)
    found = [begin for begin in occurrences(folded, wanted) if wanted and first + index[begin] <= last]
    if len(found) != 1:
        return None
    begin, end = index[found[0]], index[found[0] + len(wanted) - 1] + 1
    while end < len(part) and unicodedata.combining(part[end]):
        end += 1
    return Place(first + begin, part[begin:end], "spelling")


def fold(text: str) -> tuple[str, list[int]]:
    """A text without marks, in one normal form, any white space a space; and each character's place in `text`."""
    letters: list[str] = []
    index: list[int] = []
    for place, letter in enumerate(text):
        for part in unicodedata.normalize("NFKD", letter):
            if not unicodedata.combining(part):
                letters.append(" " if part.isspace() else part)
                index.append(place)
    return "".join(letters), index
