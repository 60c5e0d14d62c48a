"""Files by the names that settings call them: `squad` for `data/squad.json.gz`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from qa.data.reading.files import plain_name
from qa.errors import UserError

Value = TypeVar("Value")


def stem(path: Path) -> str:
    """A file's name without its folder and its ends: `xquad.de` of `data/xquad.de.json.gz`.

    A shard of a data set has its folder's: `xquad.de` of `xquad.de/validation-00000-of-00001.parquet`.
    """
    name = plain_name(path)
    name = name.rpartition(".")[0] or name
    return path.parent.name if re.fullmatch(r"\w+-\d{5}-of-\d{5}", name) and path.parent.name else name


def labels(paths: Sequence[Path]) -> list[str]:
    """The stem of each file, or its path where others have the same stem."""
    stems = [stem(path) for path in paths]
    return [name if stems.count(name) == 1 else str(path) for name, path in zip(stems, paths, strict=True)]


def check_stems(setting: str, names: Iterable[str], paths: Sequence[Path]) -> None:
    """Checks that each name is the stem of a file. Errors: UserError."""
    stems = dict.fromkeys(map(stem, paths))
    if unknown := [name for name in names if name not in stems]:
        raise UserError(f"{setting}: no file is called {unknown[0]!r}; the files are {', '.join(stems) or 'none'}")


def by_path(setting: str, values: Mapping[str, Value], paths: Sequence[Path]) -> dict[Path, Value]:
    """{stem: value} of a setting as {path: value}. Errors: UserError for a stem of no file or of several."""
    check_stems(setting, values, paths)
    values_by_path: dict[Path, Value] = {}
    for name, value in values.items():
        called = [path for path in paths if stem(path) == name]
        if len(called) > 1:
            raise UserError(f"{setting}: {name!r} is the name of {', '.join(map(str, called))}; rename all but one")
        values_by_path[called[0]] = value
    return values_by_path
