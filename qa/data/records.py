"""Files → records, not checked yet: SQuAD v1.1 JSON, JSONL, CSV, TSV and Parquet, packed by gzip or zstd or not."""

import csv
import difflib
import glob
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from qa.data.record import LONGEST_LINE, BadRecord, Columns, Files, Record, check_columns, example_fields
from qa.errors import UserError

LARGEST_JSON = 256 << 20  # bytes, unpacked: JSON is held whole, at eleven times its size


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
            beside = [path.name for path in Path(name).parent.glob("*") if path.is_file()]
            if close := difflib.get_close_matches(Path(name).name, beside, n=1):
                raise UserError(f"{name}: {what}; did you mean {Path(name).with_name(close[0])}?")
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
        from qa.data.parquet import parquet_records  # takes a while to import

        return parquet_records(path, columns)
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
                raise UserError(f"{where}: longer than {LONGEST_LINE >> 20} MiB, which is no question; fix it")
            if not line:
                return
            if line.strip():
                row = _json_line(line, where, number == 1)
                yield Record(where, _named(row, number, columns) if isinstance(row, dict) else row)


def _json_line(line: bytes, where: str, first: bool) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        return BadRecord("not UTF-8", where, "not UTF-8")
    except (ValueError, RecursionError) as error:
        return BadRecord("not JSON", where, f"not JSON ({error})")


def _named(row: dict[str, Any], number: int, columns: Columns) -> dict[str, Any]:
    """A line's fields under our names; without an id its number; a single answer as a list of one."""
    ours = {theirs: name for name, theirs in columns}
    fields = {"id": str(number), **{ours.get(name, name): value for name, value in row.items()}}
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
            check_columns(path, rows.fieldnames, columns)
            for number, row in enumerate(rows, 1):
                lines.taken = 0
                where = f"{path}: line {rows.line_num}"
                if "too many" in row or None in row.values():
                    problem = f"not {len(rows.fieldnames)} fields, as the first line has"
                    yield Record(where, BadRecord("wrong number of fields", where, problem))
                else:
                    yield Record(where, example_fields(row, number, columns))
        except UnicodeDecodeError:
            raise UserError(f"{path}: after line {rows.line_num}: not UTF-8; save the file as UTF-8") from None
        except csv.Error as error:
            raise UserError(f"{path}: line {rows.line_num}: {error}; fix its quotes") from None


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
