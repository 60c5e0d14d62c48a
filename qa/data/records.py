"""Files → records, not checked yet: SQuAD v1.1 JSON, JSONL, CSV, TSV and Parquet, packed by gzip or zstd or not."""

import csv
import glob
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pyarrow
import pyarrow.compute
import pyarrow.parquet
import zstandard
from pydantic import BaseModel, ConfigDict

from qa.errors import UserError

Files = str | list[str]

SKIP_REMEDY = "mend it, or count and leave out such records with data.on_bad_record=skip"
# small files can unpack to more than any memory holds
LARGEST_JSON = 256 << 20  # bytes, unpacked: JSON is held whole, at eleven times its size
LONGEST_LINE = 16 << 20  # bytes of a line of JSONL, characters of a record of CSV, bytes of a text in Parquet
LARGEST_ROW_GROUP = 512 << 20  # bytes of a Parquet file, unpacked
AT_ONCE = 32  # rows of a Parquet file, each text of which may be as long as a line


class Columns(BaseModel):
    """The names of a table's columns, or of the fields of JSONL; `answer_start` may be missing.

    Without an `id` a table's row has its number. A column or field `title` names the question's article.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str = "id"
    question: str = "question"
    context: str = "context"
    answer: str = "answer"
    answer_start: str = "answer_start"


class Record(NamedTuple):
    """What a file holds for one question, not checked yet, and where it stands."""

    where: str
    fields: Any


class BadRecord(UserError):
    """A record that cannot be used: its kind (for the counts), where it stands, what is wrong."""

    def __init__(self, kind: str, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}; {SKIP_REMEDY}")
        self.kind = kind


def find_files(files: Files) -> list[Path]:
    """Expands one path, a list or globs into existing files, in the order given (a glob's in sorted order).

    Errors: UserError for a path that does not exist or a pattern that matches nothing.
    """
    found: list[Path] = []
    for name in [files] if isinstance(files, str) else files:
        matches = [name] if Path(name).is_file() else sorted(glob.glob(name, recursive=True))
        matches = [match for match in matches if Path(match).is_file()]
        if not matches:
            what = "a folder" if Path(name).is_dir() else "no such file"
            raise UserError(f"{name}: {what}; give a path, a list [a.json,b.json] or a glob in data.*_file")
        found += [Path(match) for match in matches if Path(match) not in found]
    return found


def read_records(path: Path, columns: Columns = Columns()) -> Iterator[Record]:
    """The records of one file, by the end of its name. Errors: UserError for a file that cannot be read at all."""
    kind = plain_name(path).rpartition(".")[2]
    if kind == "json":
        return _squad_records(path)
    if kind == "jsonl":
        return _jsonl_records(path, columns)
    if kind in {"csv", "tsv"}:
        return _csv_records(path, "," if kind == "csv" else "\t", columns)
    if kind == "parquet":
        return _parquet_records(path, columns)
    kinds = ".json (SQuAD v1.1), .jsonl (one example a line), .csv, .tsv or .parquet"
    raise UserError(f"{path}: unknown kind of file; name it {kinds}")


def plain_name(path: Path) -> str:
    """A file's name as it would be unpacked."""
    return path.name.removesuffix(".gz").removesuffix(".zst")


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked. Errors: UserError, also while they are read."""
    try:
        with path.open("rb") as packed:
            begin = packed.peek(4)[:4]
            if begin[:2] == b"\x1f\x8b":
                file: Any = gzip.GzipFile(fileobj=packed)
            elif begin == b"\x28\xb5\x2f\xfd":
                file = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))
            else:
                file = packed
            yield cast(IO[bytes], file)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise UserError(f"{path}: cannot be read ({error}); get the file again or give another") from None


def _squad_records(path: Path) -> Iterator[Record]:
    with _unpacked(path) as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise UserError(
            f"{path}: more than {LARGEST_JSON >> 20} MiB of JSON; make it .jsonl, which is read line by line"
        )
    try:
        root = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        remedy = "name it .jsonl" if error.msg == "Extra data" else "it may be truncated: get the file again"
        raise UserError(f"{path}: not JSON at line {error.lineno} ({error.msg}); {remedy}") from None
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply to be SQuAD; give a SQuAD v1.1 file") from None
    except ValueError:
        raise UserError(f"{path}: a number of thousands of digits is no SQuAD; give a SQuAD v1.1 file") from None
    del content
    if not isinstance(root, dict) or not isinstance(root.get("data"), list):
        raise UserError(f'{path}: no list "data" at its top; give a SQuAD v1.1 file, or name it .jsonl')
    for a, article in enumerate(root["data"]):
        where = f"{path}: article {a}"
        for p, paragraph in _members(article, "paragraphs", where):
            spot = f"{where}, paragraph {p}"
            if isinstance(paragraph, BadRecord):
                yield Record(spot, paragraph)
                continue
            given = {"context": paragraph["context"]} if "context" in paragraph else {}
            given["title"] = article.get("title")
            for q, question in _members(paragraph, "qas", spot):
                fields = {**question, **given} if isinstance(question, dict) else question
                yield Record(f"{spot}, question {q}" if q >= 0 else spot, fields)


def _members(parent: Any, key: str, where: str) -> Iterator[tuple[int, Any]]:
    """The objects in `parent[key]` with their index; BadRecords where the structure is broken (-1: all of it)."""
    if not isinstance(parent, dict) or key not in parent:
        yield -1, BadRecord(f"missing {key}", where, f"the field {key!r} is missing")
    elif not isinstance(parent[key], list):
        yield -1, BadRecord("wrong type", where, f"the field {key!r} must be a list")
    else:
        for index, member in enumerate(parent[key]):
            spot = f"{where}, {'paragraph' if key == 'paragraphs' else 'question'} {index}"
            good = isinstance(member, dict)
            yield index, member if good else BadRecord("wrong type", spot, "it must be an object")


def _jsonl_records(path: Path, columns: Columns) -> Iterator[Record]:
    with _unpacked(path) as file:
        for number in count(1):
            where = f"{path}: line {number}"
            line = file.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                raise UserError(f"{where}: longer than {LONGEST_LINE >> 20} MiB, which is no question; mend it")
            if not line:
                return
            if line.strip():
                row = _json_line(line, where, number == 1)
                yield Record(where, _named(row, columns) if isinstance(row, dict) else row)


def _json_line(line: bytes, where: str, first: bool) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        return BadRecord("not UTF-8", where, "not UTF-8")
    except (ValueError, RecursionError) as error:
        return BadRecord("not JSON", where, f"not JSON ({error})")


def _named(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """A line's fields under our names; a single answer as a list of one."""
    ours = {theirs: name for name, theirs in columns}
    fields = {ours.get(name, name): value for name, value in row.items()}
    if "answers" not in fields and fields.get("answer") is not None:
        fields["answers"] = [{"text": fields["answer"], "answer_start": fields.get("answer_start")}]
    return fields


def _csv_records(path: Path, delimiter: str, columns: Columns) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_LINE)
    with _unpacked(path) as file:
        lines = BoundedLines(path, io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        rows = csv.DictReader(lines, delimiter=delimiter, restkey="too many", strict=True)
        try:
            if not rows.fieldnames:
                return
            if len(rows.fieldnames) == 1:
                names = {",": "commas", "\t": "tabs"}
                raise UserError(
                    f"{path}: one column only ({rows.fieldnames[0]}); separate fields by {names[delimiter]}"
                )
            _check_columns(path, rows.fieldnames, columns)
            for number, row in enumerate(rows, 1):
                lines.taken = 0
                where = f"{path}: line {rows.line_num}"
                if "too many" in row or None in row.values():
                    problem = f"not {len(rows.fieldnames)} fields, as the first line has"
                    yield Record(where, BadRecord("wrong number of fields", where, problem))
                else:
                    yield Record(where, _example(row, number, columns))
        except UnicodeDecodeError:
            raise UserError(f"{path}: after line {rows.line_num}: not UTF-8; save the file as UTF-8") from None
        except csv.Error as error:
            raise UserError(f"{path}: line {rows.line_num}: {error}; mend its quotes") from None


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
                raise UserError(f"{self.path}: a record of more than {size} is no question; mend its quotes")
            yield line


def _parquet_records(path: Path, columns: Columns) -> Iterator[Record]:
    """Texts stay as the file has them, each distinct one once, whatever the rows that it stands in."""
    wanted = {columns.id, columns.question, columns.context, columns.answer, columns.answer_start, "answers", "title"}
    texts: dict[str, str] = {}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            _check_columns(path, there, columns)
            leaves = [file.schema.column(number) for number in range(len(file.schema))]
            groups = [file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)]
        if max(groups, default=0) > LARGEST_ROW_GROUP:
            most = f"{LARGEST_ROW_GROUP >> 20} MiB"
            raise UserError(f"{path}: a row group of more than {most}; write it with a smaller row_group_size")
        names = [name for name in there if name in wanted]
        as_dictionaries = [
            leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.path.partition(".")[0] in wanted
        ]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=as_dictionaries) as file:
            numbers = count(1)
            for batch in file.iter_batches(AT_ONCE, columns=names):
                if max(map(_longest, batch.columns), default=0) > LONGEST_LINE:
                    where = f"{path}: rows {(first := next(numbers))} to {first + len(batch) - 1}"
                    raise UserError(f"{where}: a text of more than {LONGEST_LINE >> 20} MiB is no question; mend it")
                for row in batch.to_pylist():
                    number = next(numbers)
                    yield Record(f"{path}: row {number}", _example(_shared(row, texts), number, columns))
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({reason}); get the file again or give another") from None


def _longest(array: pyarrow.Array) -> int:
    """Bytes of the longest text in an array, lists and structures of texts included."""
    if pyarrow.types.is_dictionary(array.type):
        return pyarrow.compute.max(pyarrow.compute.binary_length(array.dictionary)).as_py() or 0
    if pyarrow.types.is_struct(array.type):
        return max(map(_longest, array.flatten()), default=0)
    return _longest(array.flatten()) if isinstance(array, pyarrow.ListArray | pyarrow.LargeListArray) else 0


def _shared(value: Any, texts: dict[str, str]) -> Any:
    """The value with each text replaced by the first one that equals it."""
    if isinstance(value, str):
        return texts.setdefault(value, value)
    if isinstance(value, list):
        return [_shared(member, texts) for member in value]
    return {name: _shared(member, texts) for name, member in value.items()} if isinstance(value, dict) else value


def _check_columns(path: Path, there: Sequence[str], columns: Columns) -> None:
    for key in ("question", "context"):
        if (name := getattr(columns, key)) not in there:
            raise UserError(f"{path}: no column {name!r} (there: {', '.join(there)}); say data.columns.{key}=NAME")


def _example(row: Mapping[str, Any], number: int, columns: Columns) -> dict[str, Any]:
    """A row as an example's fields; a cell holds one answer or, in Parquet, a list of them."""
    fields = {"question": row[columns.question], "context": row[columns.context]}
    fields |= {"id": str(row.get(columns.id, number)), "title": row.get("title")}
    if row.get("answers"):
        return {**fields, "answers": row["answers"]}
    cells = row.get(columns.answer), row.get(columns.answer_start)
    texts, starts = (cell if isinstance(cell, list) else [] if cell in (None, "") else [cell] for cell in cells)
    starts = [int(s) if isinstance(s, str) and s.strip().removeprefix("-").isdecimal() else s for s in starts]
    starts += [None] * (len(texts) - len(starts))
    fields["answers"] = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    return fields
