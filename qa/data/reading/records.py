"""Files → records, not checked yet: JSON, JSONL, CSV, TSV, Parquet and Arrow."""

import logging
from collections.abc import Iterator
from pathlib import Path

from qa.data.reading.files import check_readable, kind_of
from qa.data.reading.json_records import json_records
from qa.data.reading.record import BadRecord, Columns, Named, Record
from qa.data.reading.tables import table_records
from qa.errors import UserError

log = logging.getLogger(__name__)

LINES = ("jsonl", "ndjson", "jsonlines")
TABLES = ("csv", "tsv")
FILE_KINDS = ".json (SQuAD), .jsonl (one question a line), .csv, .tsv, .parquet or .arrow"
COLUMNAR = ("parquet", "arrow", "feather")


def read_records(path: Path, columns: Columns = Columns()) -> Iterator[Record | BadRecord]:
    """The records of one file, by the end of its name. Errors: UserError for a file that cannot be read at all."""
    check_readable(path)
    kind, named = kind_of(path), Named(path, columns)
    if kind == "json" or kind in LINES:
        yield from json_records(path, kind in LINES, named)
    elif kind in TABLES:
        yield from table_records(path, named)
    elif kind in COLUMNAR:
        if path.name.lower().rpartition(".")[2] != kind:
            raise UserError(f"{path}: a packed {kind.title()} file; unpack it and give that file")
        from qa.data.reading.parquet import arrow_records, parquet_records  # takes a while to import

        yield from (parquet_records if kind == "parquet" else arrow_records)(path, named)
    else:
        raise UserError(f"{path}: unknown kind of file; name it {FILE_KINDS}")
    if note := named.note():
        log.warning("%s", note)
