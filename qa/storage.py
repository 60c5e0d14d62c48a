"""Files as others may read them, whole or not there."""

import errno
import functools
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
LFS = b"version https://git-lfs.github.com/spec/"


def content_hash(path: Path) -> str:
    """BLAKE2b of a file, 32 hexadecimal digits; read once for all jobs of a sweep."""
    status = path.stat()
    return _content_hash(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.cache
def _content_hash(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def contents_hash(paths: Iterable[Path]) -> str:
    """BLAKE2b of files' names and contents, 32 hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=16)
    for path in paths:
        whole.update(f"{path.name} {content_hash(path)}\n".encode())
    return whole.hexdigest()


def begins_with(path: Path, mark: bytes) -> bool:
    """Whether these are a file's first bytes; False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError:
        return False


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer of Git LFS, which stands there until a fetch; False for one that cannot be read."""
    return begins_with(path, LFS)


@contextmanager
def temporary_name(path: Path) -> Iterator[Path]:
    """A path for a file or a folder until it is whole; anything still there at the end of the block is removed.

    It is in a new folder beside `path`, which no other program can know.
    """
    try:
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:100]}-")
    except OSError as error:
        error.filename = str(path)
        raise
    with folder as name:
        yield Path(name, f"{path.name}.tmp")


@contextmanager
def atomic_write(path: Path, binary: bool = False) -> Iterator[IO[Any]]:
    """A new file that takes the name `path` once it is whole and on the disk; text is UTF-8.

    An error within the block leaves what `path` was.
    """
    with temporary_name(path) as temporary:
        with temporary.open("wb") if binary else temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def rename_new(path: Path, name: Path) -> None:
    """Gives a file or a folder a name that nothing has. Errors: FileExistsError."""
    try:
        os.link(path, name)
        path.unlink()
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        name.mkdir() if path.is_dir() else name.touch(exist_ok=False)
        path.replace(name)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8; see `atomic_write`."""
    with atomic_write(path) as file:
        file.write(text)


def append_text(path: Path, text: str) -> None:
    """Adds whole lines in UTF-8 to a file, on the disk when it returns; after an error the file is as it was."""
    with path.open("ab", buffering=0) as file:
        size, rest = file.tell(), text.encode()
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


def new_folder(path: Path) -> Path:
    """Makes PATH, or the first of `PATH-2`, `PATH-3` … that nothing has; no two processes get the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def remove(path: Path) -> None:
    """Removes a file, a link or a folder, if there is one; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def new_file_mode() -> int:
    """The mode of a new file by this process's umask."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def readable(path: Path) -> None:
    """Gives a file the mode of any new one: safetensors gives its files to their owner alone."""
    path.chmod(new_file_mode())


def write_object(path: Path, members: Iterable[tuple[str, Any]]) -> None:
    """Writes a JSON object member by member, indented by 1; see `atomic_write`."""
    encode = json.JSONEncoder(ensure_ascii=False, indent=1).encode
    with atomic_write(path) as file:
        before = "{\n "
        for name, value in members:
            file.write(f"{before}{encode(name)}: " + encode(value).replace("\n", "\n "))
            before = ",\n "
        file.write("{}" if before[0] == "{" else "\n}")
