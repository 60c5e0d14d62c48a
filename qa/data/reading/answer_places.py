"""Finds the place of an answer in its context, and repairs one that is a little off."""

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

NEAR = 10  # characters between a wrong place and the right one, where further ones do not matter


class Place(NamedTuple):
    """The place of an answer: its first character, its text as the context spells it, and the kind of repair.

    `kind`: "place" and "far" are of another place, "spelling", "case" and "garbled" of other letters there.
    """

    start: int
    text: str
    kind: str


def occurrences(context: str, text: str, whole_words: bool = False) -> Iterator[int]:
    """The places of a text, overlapping ones included.

    `whole_words`: without those that begin or end inside a word of ASCII letters and digits, as "yes" in "yesterday".
    """
    begin = context.find(text)
    while begin >= 0:
        if not (whole_words and (inside_word(context, begin) or inside_word(context, begin + len(text)))):
            yield begin
        begin = context.find(text, begin + 1)


def inside_word(context: str, place: int) -> bool:
    """Whether a place, between two characters, is between letters or digits of ASCII."""
    around = context[max(place - 1, 0) : place + 1]
    return 0 < place and len(around) == 2 and around.isascii() and around.isalnum()


def repaired_place(context: str, text: str, start: int | None) -> Place | None:
    """The place where the text is meant to stand; None where it stands nowhere, or in several places.

    It is the only one within NEAR characters of `start`, else the only one of all. A no-break space is a space, and
    marks and normal forms do not count: "cafe" stands where "café" does. Case does not count at `start` itself, and
    where the text stands nowhere as it is spelt. Last, its garbled letters are restored: "cafÃ©" is "café".
    """
    text = text.strip()
    if place := _repaired(context, text, start):
        return place
    restored = text if text.isascii() else _without_garbled(text)
    place = None if restored == text else _repaired(context, restored, start)
    return place and place._replace(kind="garbled")


def _without_garbled(text: str) -> str:
    from ftfy import fix_encoding  # which answering does without

    return fix_encoding(text)


def _repaired(context: str, text: str, start: int | None) -> Place | None:
    stands = {
        "place": [(begin, text) for begin in occurrences(context, text, whole_words=True)],
        "spelling": list(_folded(context, text, lower=False)),
        "case": list(_folded(context, text, lower=True)),
    }
    spelt, whole = ["place", "spelling"], range(len(context))
    near = range(start - NEAR, start + NEAR + 1) if start is not None else range(0)
    at = range(start, start + 1) if start is not None else range(0)
    for spread, kinds in ((at, [*stands]), (near, spelt), (whole, spelt), (near, ["case"]), (whole, ["case"])):
        for kind in kinds:
            if places := [place for place in stands[kind] if place[0] in spread]:
                is_far = spread is whole and kind != "case" and start is not None
                return Place(*places[0], "far" if is_far else kind) if len(places) == 1 else None
    return None


def _folded(context: str, text: str, lower: bool) -> Iterator[tuple[int, str]]:
    """The places where the text stands in another spelling, each with what is there."""
    folded, index = fold(context, lower)
    wanted, _ = fold(text, lower)
    index.append(len(context))
    for place in occurrences(folded, wanted, whole_words=True) if wanted else ():
        begin, end = index[place], index[place + len(wanted) - 1] + 1
        # a character may be several ones in another normal form: all must be there
        is_whole = begin != index[place - 1] and end - 1 != index[place + len(wanted)]
        while end < len(context) and unicodedata.combining(context[end]):
            end += 1
        if is_whole:
            yield begin, context[begin:end]


def fold(text: str, lower: bool = False) -> tuple[str, list[int]]:
    """A text without marks, in one normal form, any white space a space; and each character's place in `text`."""
    letters: list[str] = []
    index: list[int] = []
    for place, letter in enumerate(text):
        for part in unicodedata.normalize("NFD", letter.lower() if lower else letter):
            if not unicodedata.combining(part):
                letters.append(" " if part.isspace() else part)
                index.append(place)
    return "".join(letters), index
