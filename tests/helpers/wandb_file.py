"""What a `.wandb` file holds."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7  # bytes of LevelDB's log, in which a .wandb file is framed; its own header is as long


def records(folder: Path) -> Iterator[Any]:
    """The records of a run's `.wandb` file; a record may be cut into fragments, none of which crosses a block."""
    data = next(folder.glob("*.wandb")).read_bytes()
    position, content = HEADER, b""
    while position + HEADER <= len(data):
        if (room := BLOCK - position % BLOCK) < HEADER:
            position += room
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        position += HEADER + length
        content += data[position - length : position]
        if kind in (1, 4):  # a whole record, or the last fragment of one
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            record.ParseFromString(content)
            content = b""
            yield record
