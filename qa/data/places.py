"""Finds where an answer stands in its context, and repairs a place that is a little off."""

import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

NEAR = 10  # characters between a wrong place and the right one


class Place(NamedTuple):
    """Where an answer stands: its first character, its text as the context spells it, and what was repaired."""

    start: int
    text: str
    kind: str


def occurrences(context: str, text: str, whole_words: bool = False) -> Iterator[int]:
    """The places of a text, overlapping ones included.

    `whole_words`: without those that begin or end inside a word of ASCII letters and digits, as "yes" in "yesterday".
    """
    begin = context.find(text)
    while begin >= 0:
        if not (whole_words and (_inside_word(context, begin) or _inside_word(context, begin + len(text)))):
            yield begin
        begin = context.find(text, begin + 1)


def _inside_word(context: str, place: int) -> bool:
    """Whether a place, between two characters, is between letters or digits of ASCII."""
    around = context[max(place - 1, 0) : place + 1]
    return 0 < place and len(around) == 2 and around.isascii() and around.isalnum()


def repaired(context: str, text: str, start: int | None) -> Place | None:
    """The only place within NEAR characters of `start` (None: anywhere) where the text stands; None without one.

    A no-break space is a space, and marks and normal forms do not count: "cafe" stands where "café" does.
    """
    first = 0 if start is None else max(0, start - NEAR)
    last = len(context) if start is None else start + NEAR
    text = text.strip()
    near = context[first : last + len(text)]
    exact = list(islice(occurrences(near, text, whole_words=True), 2))
    if exact:
        return Place(first + exact[0], text, "place") if len(exact) == 1 else None
    # a letter may be several characters: marks are apart in some normal forms
    part = context[first : last + 4 * len(text)]
    folded, index = fold(part)
    wanted, _ = fold(text)
    index.append(len(part))
    whole = (  # characters, of which several may be one in another normal form
        begin
        for begin in occurrences(folded, wanted, whole_words=True)
        if index[begin] != index[begin - 1] and index[begin + len(wanted)] != index[begin + len(wanted) - 1]
    )
    found = [begin for begin in islice(whole, 2) if wanted and first + index[begin] <= last]
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
        for part in unicodedata.normalize("NFD", letter):
            if not unicodedata.combining(part):
                letters.append(" " if part.isspace() else part)
                index.append(place)
    return "".join(letters), index
