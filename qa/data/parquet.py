"""Records of a Parquet file; apart, since pyarrow takes a while to import."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from qa.data.record import LONGEST_LINE, Named, Record
from qa.errors import UserError

LARGEST_ROW_GROUP = 512 << 20  # bytes of a Parquet file, unpacked
AT_ONCE = 32  # rows of a Parquet file, each text of which may be as long as a line


def parquet_records(path: Path, named: Named) -> Iterator[Record]:
    """Records of one file. Each distinct text is held once, however many rows have it."""
    texts: dict[str, str] = {}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            there = tuple(file.schema_arrow.names)
            named.check(there)
            wanted = set(named.names(there).values())
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
                    raise UserError(f"{where}: a text of more than {LONGEST_LINE >> 20} MiB is no question; fix it")
                for row in batch.to_pylist():
                    number = next(numbers)
                    yield Record(f"{path}: row {number}", named.cells(_shared(row, texts)), str(number))
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
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
