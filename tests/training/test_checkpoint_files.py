"""Checkpoints that are written while the training goes on, as on a GPU: whole, of their step, and named in time."""

import errno
import threading
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor

from helpers.training import Small, a_history, train
from qa.errors import UserError
from qa.runs.checkpoints import load_checkpoint
from qa.training import checkpoint_files
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.history import History


class Writing:
    """A disk that takes a checkpoint only once it is `free`, or not at all."""

    def __init__(self) -> None:
        self.free, self.full, self.write = threading.Event(), False, checkpoint_files.write_through

    def __call__(self, checkpoint: dict[str, Any], path: Path) -> None:
        assert self.free.wait(60)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.write(checkpoint, path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Writing:
    writing = Writing()
    monkeypatch.setattr(checkpoint_files, "write_through", writing)
    monkeypatch.setattr(CheckpointFiles, "late", frozenset({"cpu"}))
    return writing


class Steps(lightning.Callback):
    """Notes the checkpoints' names after each step, and the weights; has the disk free after the third step."""

    def __init__(self, folder: Path, disk: Writing, fails: bool = False) -> None:
        self.folder, self.disk, self.fails = folder / "checkpoints", disk, fails
        self.names: list[list[str]] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.names.append(sorted(path.name for path in self.folder.glob("*.ckpt")))
        self.weights.append({name: weight.clone() for name, weight in module.state_dict().items()})
        if trainer.global_step == 3:
            self.disk.free.set()
            if self.fails:
                raise UserError("as a step that is not finite")


def fit(exact: Path, file: Path, history: History, *callbacks: lightning.Callback) -> Small:
    history.every_n_steps = 2
    return train(Small, exact, file, callbacks=[*callbacks, history], enable_checkpointing=True, validated=True)[0]


def test_a_checkpoint_holds_the_state_of_its_step_though_the_training_goes_on(
    disk: Writing, exact: Path, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    steps, history = Steps(tmp_path, disk), a_history(tmp_path, steps_per_epoch=4)
    module = fit(exact, small_files[0], history, steps)
    assert steps.names == [[], [], [], []]  # of the second step's, which the disk had not taken
    early, last, best = (
        load_checkpoint(tmp_path / "checkpoints" / f"{name}.ckpt") for name in ("step-2", "last", "best")
    )
    assert (early["global_step"], last["global_step"], best["global_step"]) == (2, 4, 4)
    assert (early["pending"], last["pending"]) == (False, False)
    for checkpoint, weights in ((early, steps.weights[1]), (last, module.state_dict()), (best, module.state_dict())):
        assert all(torch.equal(weight, weights[name]) for name, weight in checkpoint["state_dict"].items())
        counts = {float(state["step"]) for state in checkpoint["optimizer_states"][0]["state"].values()}
        assert counts == {float(checkpoint["global_step"])}


def test_a_checkpoint_gets_its_name_in_the_step_after_it_is_whole(
    disk: Writing, exact: Path, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    class Waits(Steps):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                assert history.files.writer._written is not None
                history.files.writer._written.result()

    disk.free.set()
    history = a_history(tmp_path, steps_per_epoch=4)
    steps = Waits(tmp_path, disk)
    fit(exact, small_files[0], history, steps)
    assert steps.names == [[], [], [], ["last.ckpt"]]


def test_a_checkpoint_gets_its_name_also_where_the_run_ends_by_an_error(
    disk: Writing, exact: Path, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="as a step"):
        fit(exact, small_files[0], a_history(tmp_path, steps_per_epoch=4), Steps(tmp_path, disk, fails=True))
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_disk_that_is_full_is_named_with_the_step_whose_checkpoint_it_has_not_taken(
    on_error: Any, disk: Writing, exact: Path, small_files: tuple[Path, Path], tmp_path: Path, caplog: Any
) -> None:
    history, disk.full = a_history(tmp_path, steps_per_epoch=4), True
    history.files.on_error = on_error
    later = "make room, or continue without it by checkpoint.on_error=continue" if on_error == "stop" else "make room"
    step = 2 if on_error == "stop" else 4
    with pytest.raises(UserError, match=rf"step {step}: no checkpoint .* \(\[Errno 28\] No space .*\); {later}; those"):
        fit(exact, small_files[0], history, Steps(tmp_path, disk))
    assert ("step 2: no checkpoint could be saved" in caplog.text) == (on_error == "continue")
    assert not [*(tmp_path / "checkpoints").iterdir()]
