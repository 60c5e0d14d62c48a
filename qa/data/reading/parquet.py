"""Records of a Parquet or Arrow file; apart, since pyarrow takes a while to import."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet

from qa.data.reading.record import LONGEST_LINE, BadRecord, FieldNames, Record
from qa.data.reading.shapes import QUESTION, records_of_cells, shape_of
from qa.errors import UserError

LARGEST_ROW_GROUP = 512 << 20  # bytes of a Parquet file, unpacked
BUFFER = 1 << 20  # bytes of a column that are read at once
ROWS_AT_ONCE = 32  # rows of a Parquet file, where each text may be as long as a line


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({reason}); get the file again or give another") from None


def parquet_records(path: Path, header: FieldNames) -> Iterator[Record | BadRecord]:
    """Records of one file. Errors: UserError."""
    with _errors(path), _opened(path) as file:
        names = _columns(file.schema_arrow.names, header)
        groups = [file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)]
        if max(groups, default=0) > LARGEST_ROW_GROUP:
            most = f"{LARGEST_ROW_GROUP >> 20} MiB"
            raise UserError(f"{path}: a row group of more than {most}; write it with a smaller row_group_size")
        leaves = [file.schema.column(number) for number in range(len(file.schema))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        with _opened(path, [text for text in texts if text.partition(".")[0] in names]) as coded:
            yield from _records(_row_groups(file, coded, names), header)


def _opened(path: Path, as_dictionaries: Sequence[str] = ()) -> pyarrow.parquet.ParquetFile:
    """A file that keeps little in memory."""
    return pyarrow.parquet.ParquetFile(path, read_dictionary=as_dictionaries, buffer_size=BUFFER, pre_buffer=False)


def _row_groups(
    file: pyarrow.parquet.ParquetFile, coded: pyarrow.parquet.ParquetFile, names: list[str]
) -> Iterator[pyarrow.RecordBatch]:
    """The rows of all groups, fewer at once where the dictionary of a group has a long text, which rows may repeat.

    `coded`: the same file, read as dictionaries; a dictionary comes whole with the first row.
    """
    for group in range(file.num_row_groups):
        for first in islice(coded.iter_batches(1, row_groups=[group], columns=names), 1):
            at_once = max(1, min(ROWS_AT_ONCE, 2 * LONGEST_LINE // (_longest_of(first) + 1)))
            yield from file.iter_batches(at_once, row_groups=[group], columns=names)


def arrow_records(path: Path, header: FieldNames) -> Iterator[Record | BadRecord]:
    """Records of one file of Arrow's IPC format, as `datasets` keeps them, or of Feather. Errors: UserError."""
    with _errors(path), pyarrow.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
        names = _columns(reader.schema.names, header)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        yield from _records(_slices(batches, names), header)


def _slices(batches: Iterable[pyarrow.RecordBatch], names: list[str]) -> Iterator[pyarrow.RecordBatch]:
    for batch in batches:
        batch.validate(full=True)  # else a damaged file is read beyond its end
        wanted = batch.select(names)
        yield from (wanted.slice(begin, ROWS_AT_ONCE) for begin in range(0, len(batch), ROWS_AT_ONCE))


def _columns(there: Sequence[str], header: FieldNames) -> list[str]:
    """The columns to read: of questions the known ones, of other shapes all. Errors: as `FieldNames.check`."""
    is_question = shape_of(there, header) is QUESTION
    header.check(tuple(there), is_question)
    if not is_question:
        return list(there)
    wanted = {name for names in header.names(tuple(there)).values() for name in names}
    return [name for name in there if name in wanted]


def _records(batches: Iterable[pyarrow.RecordBatch], header: FieldNames) -> Iterator[Record | BadRecord]:
    numbers = count()
    for batch in batches:
        if _longest_of(batch) > LONGEST_LINE:
            where = f"{header.file}: rows {(first := next(numbers) + 1)} to {first + len(batch) - 1}"
            raise UserError(f"{where}: a text of more than {LONGEST_LINE >> 20} MiB is no question; fix it")
        texts: dict[str, str] = {}  # each in memory once, however many rows have it
        for row in batch.to_pylist():
            index = next(numbers)
            yield from records_of_cells(_shared(row, texts), f"row {index + 1}", index, header)


def _longest_of(batch: pyarrow.RecordBatch) -> int:
    return max(map(_longest, batch.columns), default=0)


def _longest(array: pyarrow.Array) -> int:
    """Bytes of the longest text in an array, lists and structures of texts included."""
    if pyarrow.types.is_dictionary(array.type):
        return _longest(array.dictionary)
    if pyarrow.types.is_struct(array.type):
        return max(map(_longest, array.flatten()), default=0)
    if isinstance(array, pyarrow.StringArray | pyarrow.LargeStringArray):
        return pyarrow.compute.max(pyarrow.compute.binary_length(array)).as_py() or 0
    return _longest(array.flatten()) if isinstance(array, pyarrow.ListArray | pyarrow.LargeListArray) else 0


def _shared(value: Any, texts: dict[str, str]) -> Any:
    """The value with each text replaced by the first one that equals it."""
    if isinstance(value, str):
        return texts.setdefault(value, value)
    if isinstance(value, list):
        return [_shared(member, texts) for member in value]
    return {name: _shared(member, texts) for name, member in value.items()} if isinstance(value, dict) else value
