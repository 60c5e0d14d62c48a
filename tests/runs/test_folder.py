"""The run folder: whose it is, what is moved aside, which checkpoint is taken."""

import errno
import os
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from qa.errors import UserError
from qa.runs.checkpoints import as_begun, check_same_run, find_checkpoint, load_checkpoint
from qa.runs.folder import foreign_contents, held_identity, lock, move_aside


def test_an_earlier_run_is_moved_aside_and_what_is_not_a_runs_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    for name in ("results.json", "train.log", "notes.txt"):
        (folder / name).write_text(name)
    aside = move_aside(folder)
    assert aside is not None and aside.name.startswith("run.old-2")
    assert sorted(path.name for path in aside.iterdir()) == ["model", "results.json", "train.log"]
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert move_aside(folder) is None
    (folder / "results.json").write_text("another")
    again = move_aside(folder)
    assert again not in (None, aside) and again.parent == tmp_path


def test_what_cannot_be_moved_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a folder that is a link: its contents are moved beside what it leads to."""
    there = tmp_path / "disk" / "run"
    (there / "model").mkdir(parents=True)
    (there / "results.json").write_text("{}")
    (tmp_path / "run").symlink_to(there)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name == "model" and self.parent == there:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(UserError, match="cannot be moved aside"):
        move_aside(tmp_path / "run")
    assert sorted(path.name for path in there.iterdir()) == ["model", "results.json"]
    assert [path.name for path in there.parent.iterdir()] == ["run"]
    monkeypatch.undo()
    aside = move_aside(tmp_path / "run")
    assert aside is not None and aside.parent == there.parent


def test_a_folder_of_another_program_is_not_a_runs(tmp_path: Path) -> None:
    for name in ("model/thesis", "wandb/x", ".hydra/config.yaml", "results.json", "train.log", "interrupted.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("epochs: 3")
    assert foreign_contents(tmp_path) == ["results.json", "model", "wandb"]
    (tmp_path / ".hydra" / "config.yaml").write_text("{stage: fit, data: {}, model: {}, decode: {}, nonfinite: stop}")
    assert foreign_contents(tmp_path) == []
    with pytest.raises(UserError, match=r"results\.json: does not record what made it"):
        held_identity(tmp_path)


def test_auto_takes_the_last_checkpoint_of_the_folder_when_fitting(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert find_checkpoint("auto", tmp_path, fitting=True) is None
    last.parent.mkdir()
    torch.save({"optimizer_states": [0], "pretrained": "x"}, last)
    assert find_checkpoint("auto", tmp_path, fitting=True) == last
    assert find_checkpoint("auto", tmp_path, fitting=False) is None
    assert find_checkpoint("never", tmp_path, fitting=True) is None
    assert find_checkpoint(str(last), tmp_path / "other", fitting=False) == last
    with pytest.raises(UserError, match=rf"resume={tmp_path}: no such checkpoint; did you mean {last}\?"):
        find_checkpoint(str(tmp_path), tmp_path / "other", fitting=True)


def test_a_run_begun_from_anothers_checkpoint_resumes_from_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "checkpoints", tmp_path / "two" / "checkpoints"
    for folder in (one, two):
        folder.mkdir(parents=True)
        for name in ("last", "step-3"):
            torch.save({"optimizer_states": [0], "pretrained": "x"}, folder / f"{name}.ckpt")
    given = str(one / "last.ckpt")
    assert find_checkpoint(given, two.parent, fitting=True) == two / "last.ckpt"
    assert find_checkpoint(given, tmp_path / "three", fitting=True) == one / "last.ckpt"
    with pytest.raises(UserError, match=r"step-3\.ckpt: is older than .*last\.ckpt; give another hydra\.run\.dir"):
        find_checkpoint(str(two / "step-3.ckpt"), two.parent, fitting=True)
    for name in ("last", "step-3"):
        (two / f"{name}.ckpt").unlink()
    shutil.copy(one / "last.ckpt", two / "best.ckpt")  # brought along, before a first checkpoint of its own
    assert find_checkpoint(given, two.parent, fitting=True) == one / "last.ckpt"


def test_a_run_resumes_with_what_it_began_from(tmp_path: Path) -> None:
    begun = {"settings": {}, "inputs": {"resume": ["aa"], "model": ["ada/bridges@c1"]}, "code": None, "versions": {}}
    last = tmp_path / "checkpoints" / "last.ckpt"
    for asked, good in ((["aa"], True), (["bb"], False), (None, True)):
        inputs = {"model": ["ada/bridges@c1"], **({"resume": asked} if asked else {})}
        with nullcontext() if good else pytest.raises(UserError, match="the checkpoint that it was begun from"):
            check_same_run(last, {"run": begun}, {**begun, "inputs": inputs}, tmp_path)
    assert as_begun("ada/bridges", {"run": begun}, "model") == "ada/bridges@c1"
    assert as_begun("ada/bridges@v2", {"run": begun}, "model") == "ada/bridges@v2"
    assert as_begun(None, {"run": begun}, "train") is None


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "junk.ckpt").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"junk\.ckpt: not a checkpoint that can be read"):
        load_checkpoint(tmp_path / "junk.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="a checkpoint of another program"):
        load_checkpoint(tmp_path / "other.ckpt")
    torch.save({"optimizer_states": [0], "pretrained": Path("x")}, tmp_path / "code.ckpt")  # needs code to load
    with pytest.raises(UserError, match="not a checkpoint that can be read"):
        load_checkpoint(tmp_path / "code.ckpt")


@pytest.mark.guarantee("A damaged checkpoint (truncated, zeros, one byte) is named, and the newest whole one is taken")
@pytest.mark.parametrize("damage", ["truncated", "zeros", "one byte"])
def test_a_damaged_last_checkpoint_is_named_and_the_one_before_it_taken(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("best", "step-9", "step-10", "last"):
        torch.save({"optimizer_states": [0], "pretrained": "x", "weights": torch.arange(1000)}, folder / f"{name}.ckpt")
    content = (folder / "last.ckpt").read_bytes()
    middle = len(content) // 2
    damaged = {
        "truncated": content[:-100],
        "zeros": bytes(len(content)),
        "one byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }[damage]
    (folder / "last.ckpt").write_bytes(damaged)
    for name in ("step-10", "step-9", "best"):
        assert find_checkpoint("auto", tmp_path, fitting=True) == folder / f"{name}.ckpt"
        assert "last.ckpt: " in caplog.text
        (folder / f"{name}.ckpt").write_bytes(damaged)
    with pytest.raises(UserError, match=r"none of its checkpoints is whole; give another hydra\.run\.dir"):
        find_checkpoint("auto", tmp_path, fitting=True)


def test_a_checkpoint_of_other_data_is_refused_with_all_that_differs(caplog: pytest.LogCaptureFixture) -> None:
    made = {"settings": {"seed": 1}, "inputs": {"train": ["aa"]}, "code": "c", "versions": {"torch": "2.12.0"}}
    wanted = {"settings": {"seed": 2}, "inputs": {"train": ["bb"]}, "code": "c", "versions": {"torch": "2.13.0"}}
    words = r"of another run: seed \(1 there, 2 here\), the content of train \(aa there, bb here\)"
    with pytest.raises(UserError, match=words):
        check_same_run(Path("x.ckpt"), {"run": made}, wanted, Path())
    with pytest.raises(UserError, match="does not record what made it"):
        check_same_run(Path("x.ckpt"), {"run": {"seed": 1}}, wanted, Path())
    same = {**made, "settings": wanted["settings"], "inputs": wanted["inputs"]}
    check_same_run(Path("x.ckpt"), {"run": same}, wanted, Path())
    assert "made by torch 2.12.0 (2.13.0 here)" in caplog.text


def test_a_folder_belongs_to_one_run_until_its_last_process_ends(tmp_path: Path) -> None:
    descriptor = lock(tmp_path)
    holder = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    os.close(descriptor)
    with pytest.raises(UserError, match=rf"another run is writing into it \(process {os.getpid()} on .+ since 2"):
        lock(tmp_path, patience=0.2)
    holder.kill()
    holder.wait()
    lock(tmp_path)


def test_the_lock_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".run.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        lock(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"
