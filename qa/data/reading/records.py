"""Files (JSON, JSONL, CSV, TSV, Parquet, Arrow) and data sets of the hub → records, not checked yet."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qa.data.reading.files import check_readable, kind_of
from qa.data.reading.json_records import json_records
from qa.data.reading.record import BadRecord, Columns, FieldNames, Record
from qa.data.reading.shapes import records_of
from qa.data.reading.tables import table_records
from qa.errors import UserError
from qa.hub import REMEDIES, fetch, split_revision, why_unavailable

log = logging.getLogger(__name__)

LINES = ("jsonl", "ndjson", "jsonlines")
TABLES = ("csv", "tsv")
FILE_KINDS = ".json (SQuAD), .jsonl (one question a line), .csv, .tsv, .parquet or .arrow"
COLUMNAR = ("parquet", "arrow", "feather")


def read_records(path: Path, columns: Columns = Columns()) -> Iterator[Record | BadRecord]:
    """The records of one file, by the end of its name. Errors: UserError for a file that cannot be read at all."""
    check_readable(path)
    kind, header = kind_of(path), FieldNames(path, columns)
    if kind == "json" or kind in LINES:
        yield from json_records(path, kind in LINES, header)
    elif kind in TABLES:
        yield from table_records(path, header)
    elif kind in COLUMNAR:
        if path.name.lower().rpartition(".")[2] != kind:
            raise UserError(f"{path}: a packed {kind.title()} file; unpack it and give that file")
        from qa.data.reading.parquet import arrow_records, parquet_records  # takes a while to import

        yield from (parquet_records if kind == "parquet" else arrow_records)(path, header)
    else:
        raise UserError(f"{path}: unknown kind of file; name it {FILE_KINDS}")
    if note := header.note():
        log.warning("%s", note)


def other_split(split: str) -> str:
    """The remedy where a split is missing, for people."""
    validate = ", or take stage=validate, which evaluates its validation split" if split == "test" else ""
    return f"give data.{split}_file=FILE{validate}"


def hub_records(repository: str, split: str, columns: Columns = Columns()) -> Iterator[Record | BadRecord]:
    """The rows of one split of a SQuAD-shaped Hub data set, `NAME` or `NAME@REVISION`.

    A row with an empty list of answers is a question without an answer: SQuAD v2 on the hub has no `is_impossible`.
    Errors: UserError where hub and cache do not have it, or it has no such split.
    """
    name, revision = split_revision(fetch(repository, "dataset"))
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()  # what it takes from its cache is no warning
    try:
        rows: Any = datasets.load_dataset(name, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        if "Unknown split" in str(error):
            raise UserError(f"{name}: has no {split} split; {other_split(split)}") from None
        raise UserError(f"dataset {name} ({split}): {why_unavailable(error)}, {REMEDIES['dataset']}") from None
    header = FieldNames(f"{name} ({split})", columns)
    for index, row in enumerate(rows):
        yield from records_of(row, f"row {index}", index, header)
    if note := header.note():
        log.warning("%s", note)
