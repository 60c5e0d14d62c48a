"""Files by the names that settings call them: `squad` for `data/squad.json.gz`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from qa.data.files import plain_name
from qa.errors import UserError

Value = TypeVar("Value")


def stem(path: Path) -> str:
    """A file's name without its folder and its ends: `xquad.de` of `data/xquad.de.json.gz`."""
    name = plain_name(path)
    return name.rpartition(".")[0] or name


def labels(paths: Sequence[Path]) -> list[str]:
    """The stem of each file, or its path where others have the same stem."""
    stems = [stem(path) for path in paths]
    return [name if stems.count(name) == 1 else str(path) for name, path in zip(stems, paths, strict=True)]


def by_path(setting: str, values: Mapping[str, Value], paths: Sequence[Path]) -> dict[Path, Value]:
    """{stem: value} of a setting as {path: value}. Errors: UserError for a stem of no file or of several."""
    found: dict[Path, Value] = {}
    for name, value in values.items():
        called = [path for path in paths if stem(path) == name]
        if not called:
            known = ", ".join(dict.fromkeys(map(stem, paths)))
            raise UserError(f"{setting}: no file is called {name!r}; the files are {known}")
        if len(called) > 1:
            raise UserError(f"{setting}: {name!r} is the name of {', '.join(map(str, called))}; rename all but one")
        found[called[0]] = value
    return found
