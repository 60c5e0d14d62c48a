"""Cards for study, which have no text: two columns, front and back, as Anki and Quizlet export them."""

import csv
import re
from io import StringIO
from itertools import chain, takewhile
from typing import Any

from qa.errors import UserError
from qa.serving.texts import clean, plain_text, words_of
from qa.serving.uploads import FileQuestion, QuestionsResponse, Upload, ending, too_long

CARD_KINDS = ("csv", "tsv", "txt", "text")
# as Anki names them
NAMED_SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "colon": ":", "space": " "}
SETTING = re.compile(r"#(?:separator|html|columns|(?:guid|notetype|deck|tags)(?: column)?|if matches):", re.IGNORECASE)
LONGEST_SIDE = 200  # characters; a table with more in a cell has texts
CARD_HEADS = {"front", "back", "question", "answer", "term", "definition"}  # in a first row that is no card


def cards_of(file: Upload) -> QuestionsResponse | None:
    """The cards of a file, questions without texts; None where it has none. Errors: UserError."""
    if ending(file.name) not in CARD_KINDS:
        return None
    from qa.data.reading.record import NAMES, plain

    text = clean("".join(plain_text(file))).lstrip()
    if len(text) > file.limits.characters:
        raise UserError(too_long(file.name, file.limits))
    first = list(takewhile(SETTING.match, text.split("\n")))
    settings = dict(line[1:].lower().split(":", 1) for line in first)
    table = text[sum(len(line) + 1 for line in first) :]
    named = settings.get("separator", "")
    separator = NAMED_SEPARATORS.get(named, named) or max("\t;,", key=table.partition("\n")[0].count)
    is_bare = separator == "\t" and not first  # Quizlet: quotes are letters
    quotes: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if is_bare else {}
    try:
        rows = [row for row in csv.reader(StringIO(table), delimiter=separator, **quotes) if any(row)]
    except (csv.Error, TypeError) as error:
        raise UserError(f"{file.name}: {error}; export it again, separated by tabs") from None
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    others = {int(value) - 1 for key, value in settings.items() if key.endswith(" column") and value.isdecimal()}
    sides = [head.index(name) for name in ("question", "answer") if name in head]
    sides = sides if len(sides) == 2 else [place for place in range(len(head)) if place not in others][:2]
    has_names = len(CARD_HEADS & {*head}) > 1
    is_named = any(plain(name) in chain(CARD_HEADS, *NAMES.values()) for name in head)
    is_paired = (
        not is_named and len(rows) > 2 and all(len(row) == 2 and max(map(len, row)) <= LONGEST_SIDE for row in rows)
    )
    is_table = ending(file.name) in ("csv", "tsv")
    # a table of other columns, or sentences with commas
    is_other = not (first or has_names) and (not is_paired if is_table else not is_bare)
    if is_other or "context" in head or len(sides) < 2:
        return None
    is_html = settings.get("html") == "true"
    cards: dict[str, list[str]] = {}  # all backs of a front
    bad = 0
    for row in rows[has_names:]:
        front, back = (_words(row[side], is_html) if side < len(row) else "" for side in sides)
        if front and back:
            cards.setdefault(front, []).append(back)
        else:
            bad += 1
    questions = [FileQuestion("", front, 0, backs, None) for front, backs in cards.items()]
    return QuestionsResponse(questions, [""], bad, ["A side is empty."] if bad else [])


def _words(cell: str, is_html: bool) -> str:
    return " ".join(("".join(words_of(cell)) if is_html else cell).split())
