"""The run folder: which settings may differ, what is cleared, which checkpoint is taken."""

from pathlib import Path

import pytest
import torch

from qa import UserError
from qa.runs import clear, different_keys, find_checkpoint, load_checkpoint


def test_only_settings_that_matter_count_as_different() -> None:
    held = {"seed": 1, "data": {"limit": None, "stride": 128}, "logger": {"mode": "offline"}, "resume": "auto"}
    wanted = {"seed": 2, "data": {"limit": None, "stride": 64}, "logger": None, "resume": "never"}
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
    last.touch()
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
    torch.save({"pretrained": Path("x")}, tmp_path / "code.ckpt")  # needs code to load
    with pytest.raises(UserError, match="not a checkpoint that can be read"):
        load_checkpoint(tmp_path / "code.ckpt")
