"""Files get their names when they are whole, and nothing that somebody else made is removed or replaced."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qa.storage import atomic_write, rename_new, temporary_name, write_text


def test_a_file_of_a_similar_name_stays(tmp_path: Path) -> None:
    (tmp_path / "page.html.tmp").write_text("a thesis")
    write_text(tmp_path / "page.html", "one")
    with pytest.raises(KeyError), atomic_write(tmp_path / "page.html") as file:
        file.write("half of")
        raise KeyError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "page.html": "one", "page.html.tmp": "a thesis",
    }  # fmt: skip
    (tmp_path / "any").touch()
    assert (tmp_path / "page.html").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_two_that_write_one_name_do_not_mix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as one, atomic_write(tmp_path / "a") as other:
        one.write("1" * 10)
        other.write("2" * 5)
    assert (tmp_path / "a").read_text() == "1" * 10
    with temporary_name(tmp_path / "b") as path, temporary_name(tmp_path / "b") as second:
        path.mkdir()
        assert not second.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written_is_named_by_the_file() -> None:
    with pytest.raises(OSError) as error, temporary_name(Path("/proc/1/page.html")):
        pass
    assert error.value.filename == "/proc/1/page.html"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_new_name_replaces_nothing(
    links: bool, make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_link)
    make(tmp_path / "part")
    (tmp_path / "taken").write_text("a thesis")
    with pytest.raises(FileExistsError):
        rename_new(tmp_path / "part", tmp_path / "taken")
    assert (tmp_path / "part").exists() and (tmp_path / "taken").read_text() == "a thesis"
    rename_new(tmp_path / "part", tmp_path / "free")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["free", "taken"]
