"""CSV, TSV and their like → records."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from qa.data.fields import BadField
from qa.data.files import not_utf8, unpacked
from qa.data.record import LONGEST_LINE, Named, Record
from qa.data.shapes import is_question, records_of_cells
from qa.errors import UserError

SEPARATORS = ",;\t|"


def table_records(path: Path, named: Named) -> Iterator[Record]:
    """The records of a table whose first line names its columns. Errors: UserError."""
    csv.field_size_limit(LONGEST_LINE)
    with unpacked(path) as file:
        lines = BoundedLines(path, io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        begin = 1  # line of the record that is read
        try:
            head, separator = _head(lines)
            if not head:
                return
            rows = _rows(path, head, lines, separator)
            names = tuple(next(rows))
            if len(names) == 1:
                raise UserError(f"{path}: one column only ({names[0]}); separate fields by commas, semicolons or tabs")
            named.check(names, ("question", "context") if is_question(names) else ())
            number = 0
            while True:
                lines.taken, begin = 0, lines.number + 1
                row = next(rows, None)
                if row is None:
                    return
                if not any(row):  # a spreadsheet ends in rows of separators
                    continue
                number += 1
                if len(row) != len(names):
                    problem = f"{len(row)} fields, not {len(names)} as the first line has"
                    yield Record(named.file, f"line {begin}", BadField("wrong number of fields", problem, row))
                else:
                    cells = dict(zip(names, row, strict=True))
                    yield from records_of_cells(cells, f"line {begin}", number - 1, named)
        except UnicodeDecodeError:
            raise not_utf8(path, f"the text near line {lines.number + 1}") from None
        except csv.Error as error:
            raise UserError(f"{path}: line {begin}: {error}; fix its quotes") from None


def _head(lines: "BoundedLines") -> tuple[str, str]:
    """The line that names the columns, and the separator: of Excel's line `sep=;`, or the one the names have most."""
    head = next((line for line in lines if line.strip()), "")
    if told := re.fullmatch(r"sep=(.)\s*", head):
        return next((line for line in lines if line.strip()), ""), told[1]
    bare = "".join(head.split('"')[::2])
    return head, max(SEPARATORS, key=bare.count)


def _rows(path: Path, head: str, lines: "BoundedLines", separator: str) -> Iterator[list[str]]:
    """Rows of cells, the names of the columns first."""
    if separator == "\t" and _has_no_quoting(path, head.count("\t")):
        return (line.rstrip("\r\n").split("\t") for line in chain([head], lines))
    return csv.reader(chain([head], lines), delimiter=separator, strict=True)


def _has_no_quoting(path: Path, tabs: int) -> bool:
    """Whether quotes in a table are letters, as Google Sheets writes them; as quotes they would take in further lines.

    So it is where every line has that many tabs, and some cell has quotes as no program that quotes would write them.
    """
    letters = False
    with unpacked(path) as file:
        while line := file.readline(LONGEST_LINE + 1):
            cells = line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n").split(b"\t")
            if (line.strip() and len(cells) != tabs + 1) or any(b"\r" in cell for cell in cells):
                return False
            letters = letters or not all(map(_is_quoted, cells))
    return letters


def _is_quoted(cell: bytes) -> bool:
    """Whether a cell is as a program writes it that quotes: without quotes, or in quotes with doubled ones inside."""
    inner = cell[1:-1] if len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"') else cell
    return b'"' not in inner.replace(b'""', b"") and (inner != cell or b'"' not in cell)


class BoundedLines:
    """The lines of a text; a record of several, in quotes, may have LONGEST_LINE characters. Errors: UserError."""

    def __init__(self, path: Path, text: io.TextIOWrapper) -> None:
        self.path, self.text = path, text
        self.taken = 0  # characters since the last whole record
        self.number = 0  # lines read so far

    def __iter__(self) -> Iterator[str]:
        while line := self.text.readline(LONGEST_LINE + 1 - self.taken):
            self.taken += len(line)
            self.number += 1
            if self.taken > LONGEST_LINE:
                size = f"{LONGEST_LINE >> 20} MiB"
                raise UserError(f"{self.path}: a record of more than {size} is no question; fix its quotes")
            yield line
