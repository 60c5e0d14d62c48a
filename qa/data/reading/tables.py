"""CSV, TSV and their like → records."""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from qa.data.reading.files import as_text, unpacked
from qa.data.reading.record import LONGEST_LINE, BadRecord, FieldNames, Record
from qa.data.reading.shapes import QUESTION, records_of_cells, shape_of
from qa.errors import UserError

SEPARATORS = ",;\t|"


def table_records(path: Path, header: FieldNames) -> Iterator[Record | BadRecord]:
    """The records of a table, after a first line with the columns' names. Errors: UserError."""
    csv.field_size_limit(LONGEST_LINE)
    with unpacked(path) as file:
        lines = TableLines(path, as_text(file))
        head, separator = _head(lines)
        if not head:
            return
        lines.unread(head)
        rows: Iterator[list[str]] = csv.reader(lines, delimiter=separator, strict=True)
        if separator == "\t" and _has_no_quoting(path, head.count("\t")):
            rows = (line.rstrip("\r\n").split("\t") for line in lines)
        try:
            head.encode()
            names = tuple(next(rows))
        except UnicodeEncodeError:
            convert = f"convert it from its encoding (cp1252, cp1251, gbk …): iconv -f ENCODING -t utf-8 {path.name}"
            raise UserError(f"{path}: the line with the names is not UTF-8; {convert} > new-file") from None
        except csv.Error as error:
            raise UserError(f"{path}: line {lines.number}: {error}; fix its quotes") from None
        if len(names) == 1:
            raise UserError(f"{path}: one column only ({names[0]}); separate fields by commas, semicolons or tabs")
        header.check(names, shape_of(names, header) is QUESTION)
        for index, (place, row) in enumerate(_placed(lines, rows, len(names))):
            if isinstance(row, BadRecord):
                yield row
            else:
                yield from records_of_cells(dict(zip(names, row, strict=True)), place, index, header)


def _placed(
    lines: "TableLines", rows: Iterator[list[str]], columns: int
) -> Iterator[tuple[str, list[str] | BadRecord]]:
    """The rows with their places. A quote that is not closed takes in further rows: they are read once more."""
    taken_in = 0  # the last line that a bad row took in
    while True:
        begin = lines.begin_record()
        file, place = str(lines.path), f"line {begin}"
        bad: BadRecord | None = None
        try:
            row = next(rows, None)
        except csv.Error as error:
            through = f"lines {begin} to {lines.number}" if lines.number > begin else "it"
            reason = f"{error}; fix the quotes of {through}"
            row, bad = [], BadRecord(file, place, lines.record[0], "broken quotes", reason)
        if row is None:
            return
        if bad is None and not any(row):  # a spreadsheet ends in rows of separators
            continue
        if bad is None and len(row) != columns:
            reason = f"{len(row)} fields, not {columns} as the first line has"
            bad = BadRecord(file, place, row, "wrong number of fields", reason)
        if bad is None or begin > taken_in:
            yield place, bad or row
        if bad:
            taken_in = max(taken_in, lines.number - 1)
            lines.unread(*lines.record[1:])


def _head(lines: "TableLines") -> tuple[str, str]:
    """The line that names the columns, and the separator: of Excel's line `sep=;`, or the one the names have most."""
    head = next((line for line in lines if line.strip()), "")
    if told := re.fullmatch(r"sep=(.)\s*", head):
        return next((line for line in lines if line.strip()), ""), told[1]
    bare = "".join(head.split('"')[::2])
    return head, max(SEPARATORS, key=bare.count)


def _has_no_quoting(path: Path, tabs: int) -> bool:
    """Whether quotes in a table are letters, as Google Sheets writes them; as quotes they would take in further lines.

    They are letters where every line has that many tabs, and a cell has quotes as no program that quotes writes them.
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
    """Whether a cell has no quotes, or outer ones and doubled ones inside, as programs that quote write it."""
    inner = cell[1:-1] if len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"') else cell
    return b'"' not in inner.replace(b'""', b"") and (inner != cell or b'"' not in cell)


class TableLines(Iterator[str]):
    """The lines of a text; a record of several, in quotes, may have LONGEST_LINE characters."""

    def __init__(self, path: Path, text: io.TextIOWrapper) -> None:
        self.path, self.text = path, text
        self.record: list[str] = []  # lines of the one that is read
        self._size = 0  # of them, in characters
        self.number = 0  # lines read so far
        self._waiting: deque[str] = deque()  # that are read once more
        self._read_again = 0  # characters

    def begin_record(self) -> int:
        """The number of the line in which the next record begins."""
        self.record, self._size = [], 0
        return self.number + 1

    def __next__(self) -> str:
        """The next line. Errors: UserError for a record that is too long."""
        line = self._waiting.popleft() if self._waiting else self.text.readline(LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.record.append(line)
        self._size += len(line)
        if self._size > LONGEST_LINE:
            place = f"line {self.number - len(self.record) + 1}"
            most = f"{LONGEST_LINE >> 20} MiB"
            raise UserError(f"{self.path}: {place}: a record of more than {most} is no question; fix its quotes")
        return line

    def unread(self, *lines: str) -> None:
        """Gives these lines back, which are the last ones. Errors: UserError where that is too much."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)
        self._read_again += sum(map(len, lines))
        if self._read_again > 4 * LONGEST_LINE:
            raise UserError(f"{self.path}: line {self.number}: too many quotes that are not closed; fix them")
