"""Data files: found, called by the stem of their name (`squad` for `data/squad.json.gz`), and opened, packed or not."""

import codecs
import difflib
import glob
import gzip
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import zstandard

from qa.data.reading.record import Files
from qa.errors import UserError
from qa.hub import files_in_cache
from qa.storage import begins_with, is_pointer

SHEETS = ("xlsx", "xls", "xlsm", "ods", "numbers")
XLS = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the first bytes of .xls, and of any .xlsx with a password
Value = TypeVar("Value")
ARCHIVES = (".tar", ".tar.gz", ".tar.zst", ".tar.xz", ".tgz", ".bz2", ".xz", ".7z", ".rar")  # these are not unpacked


def find_files(files: Files) -> list[Path]:
    """Expands one path, a list or globs into existing files, in the order given (a glob's in sorted order).

    A folder that `datasets.save_to_disk` wrote is its Arrow files; `hf://datasets/…` are files of the hub, downloaded.
    Errors: UserError for a path that does not exist or a pattern that matches nothing.
    """
    paths: list[Path] = []
    for address in [files] if isinstance(files, str) else files:
        name = files_in_cache(address) if address.startswith("hf://") else address
        is_file = os.path.isfile(name)  # noqa: PTH113  False also for a name that is too long
        matches = [Path(match) for match in ([name] if is_file else sorted(glob.glob(name, recursive=True)))]
        matches = [path for match in matches for path in ([match] if match.is_file() else _saved(match))]
        if not matches:
            if name != address:
                raise UserError(f"{address}: no such file in that data set; its page on the hub lists them")
            problem = "a folder" if Path(name).is_dir() else "no such file"
            beside = [path.name for path in Path(name).parent.glob("*") if path.is_file()]
            if close := difflib.get_close_matches(Path(name).name, beside, n=1, cutoff=0.8):
                raise UserError(f"{name}: {problem}; did you mean {Path(name).with_name(close[0])}?")
            raise UserError(f"{name}: {problem}; give a path, a list [a.json,b.json] or a glob in data.*_file")
        paths += [path for path in matches if path not in paths]
    return paths


def _saved(folder: Path) -> list[Path]:
    """The files of a data set that `datasets.save_to_disk` wrote. Errors: UserError for one with several splits."""
    try:
        if (splits := folder / "dataset_dict.json").is_file():
            parts = [folder / name for name in json.loads(splits.read_bytes())["splits"]]
            if len(parts) == 1:
                return _saved(parts[0])
            raise UserError(f"{folder}: a data set of several splits; give {' or '.join(map(str, parts))}")
        if (state := folder / "state.json").is_file():
            return [folder / file["filename"] for file in json.loads(state.read_bytes())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: looks saved by datasets, but cannot be read ({error}); save it again") from None
    return []


def plain_name(path: Path) -> str:
    """A file's name as it would be unpacked: "a.csv" of "a.csv.gz", and the name of the one file in a .zip."""
    name = path.name
    for end in (".gz", ".zst", ".zip"):
        if name.lower().endswith(end):
            name = name[: -len(end)]
            if end == ".zip" and len(inside := _members(path)) == 1:
                return Path(inside[0]).name
    return name


def kind_of(path: Path) -> str:
    """The end of a file's name, in lower case, as it would be unpacked: "csv" of "A.CSV.gz"."""
    return plain_name(path).rpartition(".")[2].lower()


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
        are_shards = all(path.parent == called[0].parent and path.parent.name == name for path in called)
        if len(called) > 1 and not are_shards:
            raise UserError(f"{setting}: {name!r} is the name of {', '.join(map(str, called))}; rename all but one")
        values_by_path |= dict.fromkeys(called, value)
    return values_by_path


def _members(path: Path) -> list[str]:
    """The names of the files in a .zip, without what macOS adds; empty for what is no such archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
            return [name for name in names if name.rpartition("/")[2] not in ("", ".DS_Store")]  # "": of a folder
    except (OSError, zipfile.BadZipFile):
        return []


def _only_member(path: Path) -> str:
    """The name of the one file in a .zip. Errors: UserError."""
    if len(names := _members(path)) != 1:
        there = f"{len(names)} files ({', '.join(names)[:300]})"
        raise UserError(f"{path}: an archive of {there}; unpack it and give the files")
    return names[0]


def check_readable(path: Path) -> None:
    """Refuses files in place of data: Git LFS's pointer, an archive of several files, Excel's. Errors: UserError."""
    if is_pointer(path):
        raise UserError(f"{path}: a Git LFS pointer, not the file; `git lfs pull` in its folder gets the file")
    is_excel = begins_with(path, XLS) or "xl/workbook.xml" in _members(path)  # whatever its name
    if is_excel or kind_of(path) in SHEETS:
        raise UserError(f"{path}: a spreadsheet; save it as CSV in UTF-8 and give that file")
    if path.name.lower().endswith(".zip") and zipfile.is_zipfile(path):
        _only_member(path)
    if path.name.lower().endswith(ARCHIVES):
        raise UserError(f"{path}: an archive; unpack it and give the files")


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked, UTF-16 and UTF-32 turned into UTF-8. Errors: UserError, also while they are read."""
    try:
        with path.open("rb") as packed:
            begin = packed.peek(4)[:4]
            if begin[:2] == b"\x1f\x8b":
                file: Any = gzip.GzipFile(fileobj=packed)
            elif begin == b"\x28\xb5\x2f\xfd":
                file = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))
            elif begin == b"PK\x03\x04":
                archive = zipfile.ZipFile(packed)
                file = io.BufferedReader(archive.open(_only_member(path)))
            else:
                file = packed
            encoding = json.detect_encoding(file.peek(4)[:4])  # of any text that begins in ASCII or with a mark
            if not encoding.startswith("utf-8"):
                file = io.BufferedReader(_Utf8(file, encoding))
            yield cast(IO[bytes], file)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); get the file again or give another") from None


class _Utf8(io.RawIOBase):
    """The text of a file in another encoding as bytes of UTF-8. Errors: OSError where it is not in that encoding."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file, self._encoding, self._left = file, encoding, b""
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            packed = self._file.read(1 << 16)
            try:
                self._left = self._decoder.decode(packed, final=not packed).encode()
            except UnicodeError as error:
                raise OSError(f"it begins as {self._encoding.upper()}, but: {error}") from None
            if not packed:
                break
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def as_text(file: IO[bytes]) -> io.TextIOWrapper:
    """The file's text with its own line ends; bytes that are not UTF-8 become surrogates, which no example takes."""
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
