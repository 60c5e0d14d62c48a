"""The run folder: which settings may differ, what is cleared, which checkpoint is taken."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

from qa import UserError
from qa.runs import check_same_run, clear, different_keys, find_checkpoint, load_checkpoint, lock


def test_only_settings_that_matter_count_as_different() -> None:
    held = {"seed": 1, "data": {"limit": None, "stride": 128}, "logger": {"mode": "offline"}, "trainer": {"devices": 1}}
    wanted = {"seed": 2, "data": {"limit": None, "stride": 64}, "logger": None, "trainer": {"devices": 4}}
    assert different_keys(held, wanted) == ["data.stride", "seed"]
    assert different_keys(held, {**held, "resume": "x.ckpt"}) == []


def test_clear_leaves_what_is_not_a_runs(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_auto_takes_the_last_checkpoint_of_the_folder_when_fitting(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert find_checkpoint("auto", tmp_path, fitting=True) is None
    last.parent.mkdir()
    torch.save({"optimizer_states": [0], "pretrained": "x"}, last)
    assert find_checkpoint("auto", tmp_path, fitting=True) == last
    assert find_checkpoint("auto", tmp_path, fitting=False) is None
    assert find_checkpoint("never", tmp_path, fitting=True) is None
    assert find_checkpoint(str(last), tmp_path / "other", fitting=False) == last


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


@pytest.mark.guarantee("a damaged checkpoint is named and the newest whole one taken")
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
    with pytest.raises(UserError, match="no whole checkpoint to go on from; resume=never starts anew"):
        find_checkpoint("auto", tmp_path, fitting=True)


def test_a_checkpoint_of_other_data_is_refused_with_all_that_differs() -> None:
    held = {"seed": 1, "train windows": "aa", "data.batch_size": 16}
    with pytest.raises(
        UserError, match=r"of another run: seed \(1 there, 2 here\), train windows \(aa there, bb here\)"
    ):
        check_same_run(Path("x.ckpt"), held, {"seed": 2, "train windows": "bb", "data.batch_size": 16})


def test_a_folder_belongs_to_one_run_until_its_last_process_ends(tmp_path: Path) -> None:
    descriptor = lock(tmp_path)
    holder = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    os.close(descriptor)
    with pytest.raises(UserError, match="another run is writing into it"):
        lock(tmp_path, patience=0.2)
    holder.kill()
    holder.wait()
    lock(tmp_path)
