"""Reads ids, flags, places and answers: one reading for every kind of file."""

import ast
import io
import json
import math
import re
import reprlib
import tokenize
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

NO_LABEL = ()  # the answer of a text without labels
LONGEST_LITERAL = 1 << 16  # characters of a cell that may hold a list
# as tables write a missing value
MISSING = {"na", "n/a", "#n/a", "nan", "none", "null", "\\n", "<na>"}
TRUTH_VALUES = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}
TEXTS = ("text", "texts", "answer", "answer_text", "value")  # names of the text in an answer, where that is an object
# words in the name of a field that says where an answer begins, and those of fields that count something else
STARTS = {"start", "starts", "begin", "begins", "offset", "offsets", "span", "spans", "position", "pos"}
NO_STARTS = {"end", "stop", "last", "id", "token", "tokens", "word", "line", "sentence", "paragraph", "byte", "time"}


class BadField(ValueError):
    """A field that cannot be read: its kind (for the counts), and what is wrong."""

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind


class Reference(NamedTuple):
    """An answer as a file gives it; `start`: characters of the context, None where the file does not say.

    `hint`: a place under a name that may count something else, which holds only if the text is there.
    """

    text: str
    start: int | None
    hint: int | None = None


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN or a blank text."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_text(value: Any, name: str) -> str:
    """A text; numbers are written out: 1912 and 1912.0 are "1912". Errors: BadField."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise BadField("wrong type", f"the field {name!r} should be text, not {reprlib.repr(value)}")


def read_id(value: Any) -> str | None:
    """An id of any scalar type as text; None where there is none. Errors: BadField."""
    return None if is_missing(value) else read_text(value, "id")


def read_flag(value: Any, name: str = "is_impossible") -> bool | None:
    """A flag in its usual spellings; None where it is missing. Errors: BadField."""
    if is_missing(value) or isinstance(value, bool):
        return value if isinstance(value, bool) else None
    text = read_text(value, name).strip().lower()
    if text not in TRUTH_VALUES:
        raise BadField("wrong flag", f"the field {name!r} should be true or false, not {reprlib.repr(value)}")
    return TRUTH_VALUES[text]


def read_start(value: Any) -> int | None:
    """`answer_start` as 53, 53.0, "53" or "53.0"; None where it is missing or negative. Errors: BadField."""
    if type(value) is int:
        return value if value >= 0 else None
    if is_missing(value):
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not number.is_integer():
        raise BadField("wrong type", f"the field 'answer_start' should be a whole number, not {reprlib.repr(value)}")
    return int(number) if number >= 0 else None


@lru_cache(1024)
def is_start(name: str) -> bool:
    """Whether a field of this name says where an answer begins: "start", "startChar", "begin_offset" or "span"."""
    words = {word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    return bool(words & STARTS) and not words & NO_STARTS


def read_hint(value: Any) -> int | None:
    """The place that a value begins with: 53, "53", [53, 62], [[53, 62]] or {"start": 53}; None without one."""
    while isinstance(value, list | dict):
        members = value if isinstance(value, list) else [value[name] for name in value if is_start(name)]
        value = members[0] if members else None
    try:
        return read_start(value)
    except BadField:
        return None


def read_references(value: Any, starts: Any = None, hint: Any = None) -> list[Reference]:
    """The answers of a question, without empty ones.

    `value`: a text, a list of texts, `{"text", "answer_start"}` with single values or lists, or a list of those;
    `starts`: of texts, where a column of its own has them. `hint`: the same under another name. Errors: BadField.
    """
    if is_missing(value) or value == NO_LABEL:
        return []
    if isinstance(value, dict):
        text = next((value[name] for name in TEXTS if name in value), value)
        if text is value:
            raise BadField("wrong type", f"the answer has no 'text': {reprlib.repr(value)}")
        starts = value.get("answer_start", value.get("answer_starts"))
        hint = [value[name] for name in value if name != "answer_start" and is_start(name)]
        if isinstance(text, str) and not isinstance(starts, list):
            return [] if is_missing(text) else [Reference(text, read_start(starts), read_hint(hint))]
        return _paired(_listed(text), _listed(starts), hint[:1])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [reference for member in value for reference in _read_member(member)]
    return _paired(_listed(value), _listed(starts), [hint])


def _read_member(value: Any) -> list[Reference]:
    """The answers in a member of a list of objects. Errors: BadField."""
    if not isinstance(value, dict):
        return _paired([value], [])
    text, start = value.get("text"), value.get("answer_start")
    if type(text) is str and type(start) is int and start >= 0 and text and not text.isspace():
        return [Reference(text, start)]  # SQuAD's, which most are
    return read_references(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if is_missing(value) else [value]


def _paired(texts: list[Any], starts: list[Any], hints: Sequence[Any] = ()) -> list[Reference]:
    """Pairs texts with starts. `hints`: one value, of the only text or a list with one for each of the texts."""
    if len(starts) > max(len(texts), 1) or (1 < len(starts) < len(texts)):
        raise BadField("wrong type", f"{len(texts)} answers with {len(starts)} answer_start")
    if len(texts) > 1:
        hints = hints[0] if hints and isinstance(hints[0], list) and len(hints[0]) == len(texts) else ()
    rows = [row for row in zip_longest(texts, starts, hints) if not is_missing(row[0])]
    return [Reference(read_text(text, "answers"), read_start(start), read_hint(hint)) for text, start, hint in rows]


def is_marked_missing(cell: Any) -> bool:
    """Whether a table's cell is empty or says, in the words of some program, that it is."""
    return is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def read_literal(cell: Any) -> Any:
    """A cell of a table that holds a list or an object as JSON, Python or NumPy write it; any other cell as it is."""
    if not (isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{") and len(cell) <= LONGEST_LITERAL):
        return cell
    for read in (json.loads, _python):
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
            value = read(cell)
            return value if isinstance(value, list | dict) else cell
    return cell


def _python(cell: str) -> Any:
    """A literal, in which NumPy's `array(…, dtype=…)` is its list and `['a' 'b']` has two members."""
    words: list[str] = []
    values = tokenize.NUMBER, tokenize.STRING
    before = tokenize.OP
    for token in tokenize.generate_tokens(io.StringIO(cell.strip()).readline):
        words += [","] * (before in values and token.type in values)
        words.append(token.string)
        before = token.type if token.type not in (tokenize.NL, tokenize.NEWLINE) else before
    tree = _Lists().visit(ast.parse(" ".join(words).strip(), mode="eval"))
    return ast.literal_eval(tree)


class _Lists(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_array = isinstance(node.func, ast.Name) and node.func.id == "array"
        is_scalar = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "np"
        return self.visit(node.args[0]) if (is_array or is_scalar) and node.args else node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(None) if node.id == "nan" else node
