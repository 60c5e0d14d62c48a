"""Files → records: SQuAD v1.1 JSON and JSONL, gzipped or not, not checked yet."""

import glob
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from qa import UserError

Files = str | list[str]

SKIP_REMEDY = "mend it, or count and leave out such records with data.on_bad_record=skip"
LARGEST_JSON = 1 << 30  # bytes, unpacked: JSON is held whole, and so a small gzip file could fill the memory
LONGEST_LINE = 64 << 20  # bytes of a JSONL file


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
            raise UserError(f"{name}: no such file; give a path, a list [a.json,b.json] or a glob in data.*_file")
        found += [Path(match) for match in matches if Path(match) not in found]
    return found


def read_records(path: Path) -> Iterator[Record]:
    """The records of a `.json` (SQuAD v1.1) or `.jsonl` (one example a line) file, gzipped or not."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        return _jsonl_records(path)
    if name.endswith(".json"):
        return _squad_records(path)
    raise UserError(f"{path}: unknown kind of file; name it .json (SQuAD v1.1) or .jsonl (one example a line)")


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, gzipped or not. Errors: UserError, also while they are read."""
    try:
        with path.open("rb") as packed:
            zipped = packed.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(packed) if zipped else nullcontext(packed) as file:
                yield cast(IO[bytes], file)
    except (OSError, EOFError, zlib.error) as error:
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
            context = {"context": paragraph["context"]} if "context" in paragraph else {}
            for q, question in _members(paragraph, "qas", spot):
                fields = {**question, **context} if isinstance(question, dict) else question
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


def _jsonl_records(path: Path) -> Iterator[Record]:
    with _unpacked(path) as file:
        for number in count(1):
            where = f"{path}: line {number}"
            line = file.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                raise UserError(f"{where}: longer than {LONGEST_LINE >> 20} MiB, which is no question; mend it")
            if not line:
                return
            if line.strip():
                yield Record(where, _json_line(line, where, number == 1))


def _json_line(line: bytes, where: str, first: bool) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        return BadRecord("not UTF-8", where, "not UTF-8")
    except (ValueError, RecursionError) as error:
        return BadRecord("not JSON", where, f"not JSON ({error})")
