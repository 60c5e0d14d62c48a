"""Files → records, not checked yet: JSON, JSONL, CSV, TSV and Parquet."""

import csv
import io
import json
import logging
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

from qa.data.files import kind_of, not_utf8, unpacked
from qa.data.record import LONGEST_LINE, BadRecord, Columns, Named, Record
from qa.data.shapes import records_of
from qa.errors import UserError

log = logging.getLogger(__name__)

LARGEST_JSON = 256 << 20  # bytes, unpacked: JSON is held whole, at eleven times its size
LINES = ("jsonl", "ndjson", "jsonlines")
TABLES = ("csv", "tsv")
SHEETS = ("xlsx", "xls", "xlsm", "ods", "numbers")
SEPARATORS = ",;\t|"
KINDS = ".json (SQuAD), .jsonl (one question a line), .csv, .tsv or .parquet"


def read_records(path: Path, columns: Columns = Columns()) -> Iterator[Record]:
    """The records of one file, by the end of its name. Errors: UserError for a file that cannot be read at all."""
    kind, named = kind_of(path), Named(path, columns)
    if kind == "json" or kind in LINES:
        yield from _json_records(path, kind in LINES, named)
    elif kind in TABLES:
        yield from _table_records(path, named)
    elif kind == "parquet":
        from qa.data.parquet import parquet_records  # takes a while to import

        yield from parquet_records(path, named)
    elif kind in SHEETS:
        raise UserError(f"{path}: a spreadsheet; save it as CSV in UTF-8 and give that file")
    else:
        raise UserError(f"{path}: unknown kind of file; name it {KINDS}")
    if note := named.note():
        log.warning("%s", note)


def _json_records(path: Path, lines: bool, named: Named) -> Iterator[Record]:
    """JSON or JSONL, by what is in the file: its name may be wrong."""
    with unpacked(path) as file:
        first = file.readline(LONGEST_LINE + 1)
        while first.strip() in (b"", b"\xef\xbb\xbf") and first:
            first = file.readline(LONGEST_LINE + 1)
        rest = file.readline(LONGEST_LINE + 1)
    begin = first.removeprefix(b"\xef\xbb\xbf").strip()
    if (lines and begin[:1] != b"[" and begin != b"{") or (not lines and rest.strip() and _is_object(begin)):
        yield from _lines(path, named)
    else:
        for index, row in enumerate(_rows(path, _json(path))):
            article = isinstance(row, dict) and "paragraphs" in row
            where = f"{path}: article {index}" if article else f"{path}: row {index + 1}"
            yield from records_of(row, where, index, named)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json(path: Path) -> Any:
    """The whole of a JSON file. Errors: UserError."""
    with unpacked(path) as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise UserError(
            f"{path}: more than {LARGEST_JSON >> 20} MiB of JSON; make it .jsonl, which is read line by line"
        )
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise not_utf8(path, f"byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: not JSON at line {error.lineno} ({error.msg}); it may be truncated: get the file again"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply to be SQuAD; give a SQuAD file") from None
    except ValueError:
        raise UserError(f"{path}: a number of thousands of digits is no SQuAD; give a SQuAD file") from None


def _rows(path: Path, root: Any) -> list[Any]:
    """The objects of a JSON file: its list, the list "data" of its object, or the rows of a table by columns.

    Errors: UserError for anything else.
    """
    if isinstance(root, list):
        return root
    if isinstance(root, dict) and isinstance(root.get("data"), list):
        return list(root["data"])
    if isinstance(root, dict) and root and all(isinstance(column, dict | list) for column in root.values()):
        keys = next((list(column) for column in root.values() if isinstance(column, dict)), [])
        columns = {name: [c.get(k) for k in keys] if isinstance(c, dict) else c for name, c in root.items()}
        if len({len(column) for column in columns.values()}) == 1 and not {"paragraphs", "qas"} & columns.keys():
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(root, dict) and ({"paragraphs", "qas"} & root.keys() or "context" in root):
        return [root]
    there = f"an object with {', '.join(map(repr, list(root)[:8]))}" if isinstance(root, dict) else "no object"
    raise UserError(
        f"{path}: {there}, without a list 'data', 'paragraphs', 'qas' or a 'question' with its 'context';"
        " docs/data.md lists the shapes that are read"
    )


def _lines(path: Path, named: Named) -> Iterator[Record]:
    with unpacked(path) as file:
        for index in count():
            where = f"{path}: line {index + 1}"
            line = file.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                raise UserError(f"{where}: longer than {LONGEST_LINE >> 20} MiB, which is no question; fix it")
            if not line:
                return
            if line.strip():
                row = _line(line, where, index == 0)
                if isinstance(row, BadRecord):
                    yield Record(where, row)
                else:
                    yield from records_of(row, where, index, named)


def _line(line: bytes, where: str, first: bool) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        return BadRecord("not UTF-8", where, "not UTF-8")
    except (ValueError, RecursionError) as error:
        return BadRecord("not JSON", where, f"not JSON ({error})")


def _table_records(path: Path, named: Named) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_LINE)
    with unpacked(path) as file:
        lines = BoundedLines(path, io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        rows: Any = None
        try:
            head = next((line for line in lines if line.strip()), "")
            if not head:
                return
            rows = csv.DictReader(chain([head], lines), delimiter=_separator(head), restkey="too many", strict=True)
            names = tuple(rows.fieldnames or ())
            if len(names) == 1:
                raise UserError(f"{path}: one column only ({names[0]}); separate fields by commas, semicolons or tabs")
            named.check(names)
            for number, row in enumerate(rows, 1):
                lines.taken = 0
                where = f"{path}: line {rows.line_num}"
                if "too many" in row or None in row.values():
                    problem = f"not {len(names)} fields, as the first line has"
                    yield Record(where, BadRecord("wrong number of fields", where, problem))
                else:
                    yield Record(where, named.cells(row), str(number))
        except UnicodeDecodeError:
            raise not_utf8(path, f"the text near line {rows.line_num + 1 if rows else 1}") from None
        except csv.Error as error:
            raise UserError(f"{path}: line {rows.line_num}: {error}; fix its quotes") from None


def _separator(head: str) -> str:
    """That of a table's first line: the one that it has most often outside of quotes."""
    bare = "".join(head.split('"')[::2])
    return max(SEPARATORS, key=bare.count)


class BoundedLines:
    """The lines of a text; a record of several, in quotes, may have LONGEST_LINE characters. Errors: UserError."""

    def __init__(self, path: Path, text: io.TextIOWrapper) -> None:
        self.path, self.text = path, text
        self.taken = 0  # characters since the last whole record

    def __iter__(self) -> Iterator[str]:
        while line := self.text.readline(LONGEST_LINE + 1 - self.taken):
            self.taken += len(line)
            if self.taken > LONGEST_LINE:
                size = f"{LONGEST_LINE >> 20} MiB"
                raise UserError(f"{self.path}: a record of more than {size} is no question; fix its quotes")
            yield line
