"""Records of a data set on the hub."""

import logging
from collections.abc import Iterator
from typing import Any

from qa.data.reading.record import BadRecord, Columns, Named, Record
from qa.data.reading.shapes import records_of
from qa.errors import UserError
from qa.hub import REMEDIES, fetch, named, why_unavailable

log = logging.getLogger(__name__)


def other_split(split: str) -> str:
    """The remedy where a split is missing, for people."""
    validate = ", or take stage=validate, which evaluates its validation split" if split == "test" else ""
    return f"give data.{split}_file=FILE{validate}"


def hub_records(repository: str, split: str, columns: Columns = Columns()) -> Iterator[Record | BadRecord]:
    """The rows of one split of a SQuAD-shaped Hub data set, `NAME` or `NAME@REVISION`.

    A row with an empty list of answers is a question without an answer: SQuAD v2 on the hub has no `is_impossible`.
    Errors: UserError where hub and cache do not have it, or it has no such split.
    """
    name, revision = named(fetch(repository, "dataset"))
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()  # what it takes from its cache is no warning
    try:
        rows: Any = datasets.load_dataset(name, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        if "Unknown split" in str(error):
            raise UserError(f"{name}: has no {split} split; {other_split(split)}") from None
        raise UserError(f"dataset {name} ({split}): {why_unavailable(error)}, {REMEDIES['dataset']}") from None
    names = Named(f"{name} ({split})", columns)
    for index, row in enumerate(rows):
        yield from records_of(row, f"row {index}", index, names)
    if note := names.note():
        log.warning("%s", note)
