"""Files as others may read them, whole or not there."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def new_file_mode() -> int:
    """The mode that this process gives any new file, where nothing else is said."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def readable(path: Path) -> None:
    """Gives a file the mode of any new one: safetensors gives its files to their owner alone."""
    path.chmod(new_file_mode())


def write_object(path: Path, members: Iterable[tuple[str, Any]]) -> None:
    """Writes a JSON object, member by member and indented by 1, under a temporary name and renames it."""
    temporary = path.with_name(path.name + ".tmp")
    encode = json.JSONEncoder(ensure_ascii=False, indent=1).encode
    with temporary.open("w", encoding="utf-8") as file:
        before = "{\n "
        for name, value in members:
            file.write(f"{before}{encode(name)}: " + encode(value).replace("\n", "\n "))
            before = ",\n "
        file.write("{}" if before[0] == "{" else "\n}")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
