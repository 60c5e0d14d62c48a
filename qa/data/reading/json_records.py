"""JSON and JSONL → records."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from qa.data.example import CORRECTION
from qa.data.reading.files import as_text, unpacked
from qa.data.reading.json_text import JsonText
from qa.data.reading.record import LONGEST_LINE, NAMES, BadRecord, FieldNames, Record, plain
from qa.data.reading.shapes import QUESTION, records_of, shape_of
from qa.errors import UserError

PARTS = {"paragraphs", "qas", "annotations", "completions", "responses"}  # of one object, and no columns of a table
BEGIN = 1 << 16  # bytes that tell what a file is
CORRECTIONS = re.compile(rb'\{\s*"id"\s*:\s*"' + CORRECTION.encode())  # the begin of a service's correction
SQUAD = re.compile(rb'\{[^][{}]*"data"\s*:\s*\[')  # the begin of a file of SQuAD, often all in one line


def json_records(path: Path, lines: bool, header: FieldNames) -> Iterator[Record | BadRecord]:
    """The records of JSON or JSONL, by the file's content: its name may be wrong."""
    begin, is_lines = b"", lines
    with unpacked(path) as file:
        while not begin and (line := file.readline(BEGIN)):
            begin = line.removeprefix(BOM_UTF8).strip()
        is_whole = begin[:1] == b"[" or begin == b"{" or SQUAD.match(begin)
        if not lines and not is_whole:
            whole = begin if line.endswith(b"\n") else line + file.readline(LONGEST_LINE)
            is_lines = bool(file.readline(BEGIN).strip()) and _is_object(whole)
    if not begin:
        return
    if is_lines and not is_whole:
        yield from _lines(path, header, _replaced(path, header))
    else:
        for index, row in enumerate(_objects(path, header)):
            article = isinstance(row, dict) and "paragraphs" in row
            yield from records_of(row, f"article {index}" if article else f"row {index + 1}", index, header)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _objects(path: Path, header: FieldNames) -> Iterator[Any]:
    """The objects of a JSON file, one by one. Errors: UserError."""
    with unpacked(path) as file:
        text = JsonText(as_text(file))
        try:
            if text.peek() == "[":
                for _ in text.members("[", "]"):
                    yield text.value()
                text.take("")
            elif text.peek() == "{":
                yield from _inside(path, text, header)
            else:
                root = text.value()
                text.take("")
                yield from _rows(path, root, header)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: not JSON at line {text.line_of(error)}: {_why(error)}") from None
        except OverflowError as error:
            raise UserError(f"{path}: {error}; make it .jsonl, which is read line by line") from None
        except RecursionError:
            raise UserError(f"{path}: JSON nested too deeply to be SQuAD; give a SQuAD file") from None
        except ValueError:
            raise UserError(f"{path}: a number of thousands of digits is no SQuAD; give a SQuAD file") from None


def _inside(path: Path, text: JsonText, header: FieldNames) -> Iterator[Any]:
    """The objects in an object: the members of its list "data", one by one, or the result of `_rows`."""
    root: dict[str, Any] = {}
    is_read = False
    for _ in text.members("{", "}"):
        if text.peek() != '"':
            raise text.error("Expecting property name enclosed in double quotes")
        name = text.value()
        text.take(":")
        if name != "data" or text.peek() != "[":
            root[name] = text.value()
            continue
        rows = root[name] = []
        for _ in text.members("[", "]"):
            row = text.value()
            is_read = is_read or (isinstance(row, dict) and not rows)  # else lists, one for each row of a table
            if is_read:
                yield row
            else:
                rows.append(row)
    text.take("")
    if not is_read:
        yield from _rows(path, root, header)


def _why(error: json.JSONDecodeError) -> str:
    """The fault of a text that is not JSON, and the remedy."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if before.endswith(",") and after[:1] in ("]", "}"):
        return f"a comma too many before {after[0]}; remove it"
    if error.msg == "Extra data" and after[0] == "{":
        return "several objects one after another; put them into a list, or one on a line in a .jsonl file"
    if "\udc80" <= after[:1] <= "\udcff":
        return "it is not UTF-8; get the file again, or convert it from its encoding"
    if not before and after.startswith("<"):
        return "a web page, or XML; get the file itself"
    if not after or error.msg.startswith("Unterminated"):
        return f"{error.msg}; it may be truncated: get the file again"
    return f"{error.msg}; fix it there"


def _rows(path: Path, root: Any, header: FieldNames) -> list[Any]:
    """The objects of a JSON file: its list, or the list in its object. Errors: UserError for anything else."""
    if isinstance(root, list) or not root:
        return root or []
    if isinstance(root, dict):
        for read in (_data, _viewer, _by_index, _by_columns):
            if (rows := read(root)) is not None:
                return rows
        if _is_row(root) or shape_of(root, header) is not QUESTION:
            return [root]
    there = f"an object with {', '.join(map(repr, list(root)[:8]))}" if isinstance(root, dict) else "no object"
    raise UserError(
        f"{path}: {there}, without a list 'data', 'paragraphs', 'qas' or a 'question' with its 'context';"
        " docs/data.md lists the shapes that are read"
    )


def _data(root: dict[str, Any]) -> list[Any] | None:
    """SQuAD, and rows under "data"; with "columns" beside them each row is a list (pandas, orient="split")."""
    data, columns = root.get("data"), root.get("columns")
    if not isinstance(data, list):
        return None
    if isinstance(columns, list) and all(isinstance(row, list) and len(row) == len(columns) for row in data):
        return _with_ids(root.get("index"), [dict(zip(columns, row, strict=True)) for row in data])
    return data


def _viewer(root: dict[str, Any]) -> list[Any] | None:
    """`{"rows": [{"row_idx": 0, "row": {…}}]}`, as the hub's viewer gives them."""
    rows = root.get("rows")
    if isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("row"), dict) for row in rows):
        return [row["row"] for row in rows]
    return None


def _by_columns(root: dict[str, Any]) -> list[Any] | None:
    """`{"question": ["…", …], "context": […]}`, or with an object of numbered cells for each column (pandas)."""
    if not root or not all(isinstance(column, dict | list) for column in root.values()):
        return None
    keys = next((list(column) for column in root.values() if isinstance(column, dict)), [])
    columns = {name: [c.get(k) for k in keys] if isinstance(c, dict) else c for name, c in root.items()}
    has_texts = any(isinstance(cell, str) for column in columns.values() for cell in column[:1])
    if not has_texts or len({len(column) for column in columns.values()}) != 1 or PARTS & columns.keys():
        return None
    return _with_ids(keys, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _by_index(root: dict[str, Any]) -> list[Any] | None:
    """`{"0": {"question": "…", "context": "…"}}`, with the id as the key (pandas, orient="index")."""
    rows = list(root.values())
    if not rows or not all(isinstance(row, dict) and _is_row(row) for row in rows):
        return None
    return _with_ids(list(root), rows)


def _with_ids(names: Any, rows: list[Any]) -> list[Any]:
    """The rows of a table, each with its name in the table's index as the id if it has none."""
    if not isinstance(names, list) or len(names) != len(rows):
        return rows
    both = zip(names, rows, strict=True)
    return [row if _has(row, "id", "qas", "paragraphs") else {"id": name, **row} for name, row in both]


def _is_row(row: dict[str, Any]) -> bool:
    """Whether an object is an article, a paragraph or a question."""
    return _has(row, "paragraphs", "qas", "context")


def _has(row: dict[str, Any], *keys: str) -> bool:
    return any(name in NAMES.get(key, (key,)) for name in map(plain, row) for key in keys)


def _replaced(path: Path, header: FieldNames) -> set[int]:
    """The lines of a service's corrections, from 0 on, that later ones replace or withdraw, and those that withdraw."""
    last: dict[str, int] = {}  # lines by id
    replaced: set[int] = set()
    with unpacked(path) as file:
        for index, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b"")):
            if CORRECTIONS.match(line.removeprefix(BOM_UTF8)):
                with suppress(ValueError, RecursionError):  # a line that is not JSON replaces none
                    row = json.loads(_text(line, index))
                    name = str(row["id"])
                    replaced.update([last[name]] if name in last else [], [index] if row.get("withdrawn") else [])
                    last[name] = index
    header.replaced = len(replaced)
    return replaced


def _lines(path: Path, header: FieldNames, replaced: set[int]) -> Iterator[Record | BadRecord]:
    with unpacked(path) as file:
        for index, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b"")):
            place = f"line {index + 1}"
            if len(line) > LONGEST_LINE:
                raise UserError(f"{path}: {place}: longer than {LONGEST_LINE >> 20} MiB, which is no question; fix it")
            if not line.strip() or index in replaced:
                continue
            text = _text(line, index)
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                # the decoder counts lines in this line alone, where its break makes a second one
                why = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
                yield BadRecord(str(path), place, text.strip(), "not JSON", f"not JSON ({why})")
            else:
                yield from records_of(row, place, index, header)


def _text(line: bytes, index: int) -> str:
    return line.decode("utf-8" if index else "utf-8-sig", errors="surrogateescape")
