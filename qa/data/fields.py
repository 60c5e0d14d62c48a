"""Reads ids, flags, places and answers: one reading for every kind of file."""

import ast
import io
import json
import math
import reprlib
import tokenize
from itertools import zip_longest
from typing import Any, NamedTuple

LONGEST_LITERAL = 1 << 16  # characters of a cell that may hold a list
# as tables write a missing value
MISSING = {"na", "n/a", "#n/a", "nan", "none", "null", "\\n", "<na>"}
FLAGS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}


class BadField(ValueError):
    """A field that cannot be read: its kind (for the counts) and what is wrong."""

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind


class Reference(NamedTuple):
    """An answer as a file gives it; `start`: characters of the context, None where the file does not say."""

    text: str
    start: int | None


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


def read_flag(value: Any) -> bool | None:
    """`is_impossible` in its usual spellings; None where it is missing. Errors: BadField."""
    if is_missing(value) or isinstance(value, bool):
        return value if isinstance(value, bool) else None
    text = read_text(value, "is_impossible").strip().lower()
    if text not in FLAGS:
        raise BadField("wrong flag", f"the field 'is_impossible' should be true or false, not {reprlib.repr(value)}")
    return FLAGS[text]


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


def read_answers(value: Any, starts: Any = None) -> list[Reference]:
    """The answers of a question, without empty ones.

    `value`: a text, a list of texts, `{"text", "answer_start"}` with single values or lists, or a list of those;
    `starts`: of texts, where a column of its own has them. Errors: BadField.
    """
    if isinstance(value, BadField):  # what a reader of a shape has found
        raise value
    if is_missing(value):
        return []
    if isinstance(value, dict):
        if "text" not in value:
            raise BadField("wrong type", f"the field 'answers' has no 'text': {reprlib.repr(value)}")
        text, starts = value["text"], value.get("answer_start", value.get("answer_starts"))
        if isinstance(text, str) and not isinstance(starts, list):
            return [] if is_missing(text) else [Reference(text, read_start(starts))]
        return _paired(_listed(text), _listed(starts))
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return [reference for member in value for reference in _read_member(member)]
        return _paired(value, _listed(starts))
    return _paired([value], _listed(starts))


def _read_member(value: Any) -> list[Reference]:
    """The answers in a member of a list of objects. Errors: BadField."""
    if not isinstance(value, dict):
        return _paired([value], [])
    text, start = value.get("text"), value.get("answer_start")
    if type(text) is str and type(start) is int and start >= 0 and text and not text.isspace():
        return [Reference(text, start)]  # SQuAD's, which most are
    return read_answers(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if is_missing(value) else [value]


def _paired(texts: list[Any], starts: list[Any]) -> list[Reference]:
    if len(starts) > max(len(texts), 1) or (1 < len(starts) < len(texts)):
        raise BadField("wrong type", f"{len(texts)} answers with {len(starts)} answer_start")
    pairs = [(text, start) for text, start in zip_longest(texts, starts) if not is_missing(text)]
    return [Reference(read_text(text, "answers"), read_start(start)) for text, start in pairs]


def is_marked_missing(cell: Any) -> bool:
    """Whether a table's cell is empty or says, in the words of some program, that it is."""
    return is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def read_literal(cell: Any) -> Any:
    """A cell of a table that holds a list or an object as JSON, Python or NumPy write it; any other cell as it is."""
    if not (isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{") and len(cell) <= LONGEST_LITERAL):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            value = _python(cell)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
            return cell
    members = value if isinstance(value, list) else [value]
    good = all(isinstance(m, str | int | float | None) or (isinstance(m, dict) and "text" in m) for m in members)
    return value if good else cell


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
