"""Finds data files and opens them: packed or not, in UTF-8 or UTF-16."""

import codecs
import difflib
import glob
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from qa.data.record import Files
from qa.errors import UserError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def find_files(files: Files) -> list[Path]:
    """Expands one path, a list or globs into existing files, in the order given (a glob's in sorted order).

    Errors: UserError for a path that does not exist or a pattern that matches nothing.
    """
    found: list[Path] = []
    for name in [files] if isinstance(files, str) else files:
        is_file = os.path.isfile(name)  # noqa: PTH113  False also for a name that is too long
        matches = [name] if is_file else sorted(glob.glob(name, recursive=True))
        matches = [match for match in matches if Path(match).is_file()]
        if not matches:
            what = "a folder" if Path(name).is_dir() else "no such file"
            beside = [path.name for path in Path(name).parent.glob("*") if path.is_file()]
            if close := difflib.get_close_matches(Path(name).name, beside, n=1):
                raise UserError(f"{name}: {what}; did you mean {Path(name).with_name(close[0])}?")
            raise UserError(f"{name}: {what}; give a path, a list [a.json,b.json] or a glob in data.*_file")
        found += [Path(match) for match in matches if Path(match) not in found]
    return found


def plain_name(path: Path) -> str:
    """A file's name as it would be unpacked: "a.csv" of "a.csv.gz", and the name of the one file in a .zip."""
    name = path.name
    for end in (".gz", ".zst", ".zip"):
        if name.lower().endswith(end):
            name = name[: -len(end)]
            if end == ".zip" and (inside := _only_member(path)):
                return Path(inside).name
    return name


def kind_of(path: Path) -> str:
    """The end of a file's name, in lower case, as it would be unpacked: "csv" of "A.CSV.gz"."""
    return plain_name(path).rpartition(".")[2].lower()


def _only_member(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not _is_mac(name)]
    except (OSError, zipfile.BadZipFile):
        return None
    return names[0] if len(names) == 1 else None


def _is_mac(name: str) -> bool:
    """Whether a member of an archive is what macOS adds to those that people packed."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] == ".DS_Store"


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked, UTF-16 turned into UTF-8. Errors: UserError, also while they are read."""
    try:
        with path.open("rb") as packed:
            begin = packed.peek(4)[:4]
            if begin[:2] == b"\x1f\x8b":
                file: Any = gzip.GzipFile(fileobj=packed)
            elif begin == b"\x28\xb5\x2f\xfd":
                file = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))
            elif begin == b"PK\x03\x04":
                if (member := _only_member(path)) is None:
                    raise UserError(f"{path}: an archive of several files; unpack it and give the files")
                archive = zipfile.ZipFile(packed)
                file = io.BufferedReader(archive.open(member))
            else:
                file = packed
            if file.peek(2)[:2] in UTF_16:
                file = io.BufferedReader(_Utf8(file))
            yield cast(IO[bytes], file)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); get the file again or give another") from None


class _Utf8(io.RawIOBase):
    """The text of a file in UTF-16 as bytes of UTF-8. Errors: OSError where it is not UTF-16."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decoder, self._left = file, codecs.getincrementaldecoder("utf-16")(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            packed = self._file.read(1 << 16)
            try:
                self._left = self._decoder.decode(packed, final=not packed).encode()
            except UnicodeError as error:
                raise OSError(f"it begins as UTF-16, but: {error}") from None
            if not packed:
                break
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def not_utf8(path: Path | str, where: str) -> UserError:
    """The error for a file in another encoding, with the command that converts it."""
    convert = f"iconv -f ENCODING -t utf-8 {Path(path).name} > new-file"
    return UserError(f"{path}: {where} is not UTF-8; convert it from its encoding (cp1252, cp1251, gbk …): {convert}")
