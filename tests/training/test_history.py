"""The history's state, the best row, and where a run goes on; killed runs are in test_restart.py."""

import copy
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning
import pytest
import torch

from helpers.training import Small, a_history, train
from qa.internals import loop_state
from qa.model.optimization import schedule
from qa.runs.results import Row, better
from qa.training.checkpoint_files import hard_link
from qa.training.history import follow_schedule


@pytest.mark.parametrize("rows", [0, 2])  # evaluated before it was interrupted, or not
def test_a_resumed_history_keeps_its_state_and_what_changed_since(rows: int, tmp_path: Path) -> None:
    made: dict[str, Any] = {"settings": {}, "inputs": {}, "code": None, "versions": {}}
    history, other = a_history(tmp_path, identity=made), a_history(tmp_path, identity=made)
    history.rows = [Row(epoch=1, step=5, val_loss=0.5), Row(epoch=2, step=10, val_loss=0.7)][:rows]
    history.best = history.rows[0] if rows else None
    history.ended = True
    torch.save(history.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    (tmp_path / "checkpoints").mkdir()
    if rows:
        torch.save({"pretrained": "x", "global_step": 5}, tmp_path / "checkpoints" / "best.ckpt")
    checkpoint = {"global_step": 12, "pending": False, "callbacks": {"History": state}, "run": made}
    other.resume_from(tmp_path / "checkpoints" / "last.ckpt", checkpoint, writes=False)
    assert (other.rows, other.best, other.ended) == (history.rows, history.best, True)
    change = {"step": 12, "total_steps_before": 20, "total_steps": 40}
    other.schedule_changes.append(change)
    other.ended, other.pruned = False, True
    other.load_state_dict(state)  # as Lightning does when it begins
    assert (other.schedule_changes, other.ended, other.pruned) == ([change], False, True)


def test_an_evaluation_shows_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history, trainer = a_history(tmp_path), SimpleNamespace(loggers=[], is_global_zero=False)
    module: Any = SimpleNamespace(loss_sum=0.0, loss_windows=0, figures={})
    for step, loss in enumerate((1.0, 0.5, 0.7), 1):
        module.figures = {"val_loss": loss, "f1": 50.0}
        history.add_evaluation(cast(Any, trainer), module, step)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1.0, step 1: training loss 0.0000, validation loss 1.0000, F1 50.00 ← best so far",
        "epoch 2.0, step 2: training loss 0.0000, validation loss 0.5000, F1 50.00 ← best so far",
        "epoch 3.0, step 3: training loss 0.0000, validation loss 0.7000, F1 50.00",
    ]


def test_a_run_resumes_between_two_steps() -> None:
    within, between = loop_state(7, 5), loop_state(10, 5)
    assert within["epoch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 1, "completed": 1}
    assert within["epoch_loop.batch_progress"]["current"]["ready"] == 2
    assert between["epoch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 2, "completed": 2}
    assert between["epoch_loop.batch_progress"]["current"]["ready"] == 0
    for state in (within, between):
        steps = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
        assert steps == state["epoch_loop.batch_progress"]["total"]["completed"]


class Taken(lightning.Callback):
    """Lightning's own state of its loops, after each step and at the end of each epoch."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.found[f"step {trainer.global_step}"] = copy.deepcopy(trainer.fit_loop.state_dict())

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self.found["epoch"] = copy.deepcopy(trainer.fit_loop.state_dict())


def test_the_loops_state_is_one_that_lightning_itself_has(exact: Path, small_files: tuple[Path, Path]) -> None:
    """Every key is one of Lightning's, and the counters of steps done agree wherever its own are settled."""
    taken = Taken()
    train(Small, exact, small_files[0], callbacks=[taken])  # an epoch of 4 steps
    for moment, step in (("step 2", 2), ("epoch", 4)):
        own, theirs = loop_state(step, 4), taken.found[moment]
        assert own.keys() <= theirs.keys()
        assert all(own[key].keys() == theirs[key].keys() for key in own if key.endswith(("progress", "batch_progress")))
        optimizer = "epoch_loop.automatic_optimization.optim_progress"
        for count in ("step", "zero_grad"):
            mine, other = (state[optimizer]["optimizer"][count] for state in (own, theirs))
            assert mine["total"] == other["total"]
            # an epoch's end has the counts of the epoch that ends; ours are those before the next one
            assert moment == "epoch" or mine["current"] == other["current"]
        total = (state["epoch_loop.batch_progress"]["total"]["ready"] for state in (own, theirs))
        assert set(total) == {step}


@pytest.mark.parametrize(("held", "pending", "said"), [(30, True, ""), (30, False, "step 25"), (20, True, "step 25")])
def test_best_weights_of_another_step_are_reported_unless_their_evaluation_comes_again(
    held: int, pending: bool, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "last.ckpt"
    torch.save({"pretrained": "x", "global_step": held}, path.with_name("best.ckpt"))
    best = {"step": 25, "val_loss": 1.0}
    state = {"History": {"rows": [best], "best": best, "ended": False, "schedule": [], "pruned": False}}
    made: dict[str, Any] = {"settings": {}, "inputs": {}, "code": None, "versions": {}}
    history = a_history(tmp_path, identity=made)
    checkpoint = {"global_step": 30, "pending": pending, "callbacks": state, "run": made}
    history.resume_from(path, checkpoint, writes=True)
    assert history.best is None
    assert said in caplog.text and bool(said) == bool(caplog.text)


def test_what_ended_a_run_ends_it_again_only_if_nothing_changed(tmp_path: Path) -> None:
    """One that its time ended, given more; the other code that it resumes with is kept."""
    held = {"settings": {"trainer.max_time": "1"}, "inputs": {"resume": ["aa"]}, "code": "c1", "versions": {}}
    state: dict[str, Any] = {"History": {"rows": [], "best": None, "ended": True, "schedule": [], "pruned": False}}
    for time, ended in (("1", True), ("2", False)):
        made = {**held, "settings": {"trainer.max_time": time}, "inputs": {}, "code": "c2"}
        history = a_history(tmp_path, identity=made)
        checkpoint = {"global_step": 30, "pending": False, "callbacks": state, "run": held}
        history.resume_from(tmp_path / "checkpoints" / "last.ckpt", checkpoint, writes=True)
        assert history.ended == ended
        assert history.identity["inputs"] == held["inputs"]
        assert history.identity["earlier_code"] == [{"until_step": 30, "code": "c1", "versions": {}}]
    history.pruned = True
    assert history.final_identity()["settings"] == {"trainer.max_time": "2", "pruned": True}


def test_without_hard_links_a_checkpoint_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    (tmp_path / "last.ckpt").write_text("weights")
    hard_link(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").samefile(tmp_path / "last.ckpt")
    monkeypatch.setattr("os.link", refused)
    hard_link(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    assert (tmp_path / "best.ckpt").read_text() == "weights"
    assert not (tmp_path / "best.ckpt").samefile(tmp_path / "last.ckpt")


def test_a_longer_schedule_has_its_own_rate_at_once() -> None:
    """A checkpoint at the end of 10 steps brings the rate 0; with 20 steps it is half of the first one."""
    weight = torch.nn.Parameter(torch.zeros(1))

    def parts(steps: int) -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.Adam([weight], lr=2.0)
        return optimizer, schedule(optimizer, steps, name="linear", warmup_ratio=0.0)

    optimizer, scheduler = parts(10)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    for steps, rate in ((10, 0.0), (20, 1.0)):
        optimizer2, scheduler2 = parts(steps)
        optimizer2.load_state_dict(optimizer.state_dict())
        scheduler2.load_state_dict(scheduler.state_dict())
        follow_schedule(scheduler2)
        assert optimizer2.param_groups[0]["lr"] == rate


@pytest.mark.parametrize("monitor", ["val_loss", "f1"])
def test_what_is_not_finite_is_never_the_best(monitor: Any) -> None:
    nan, good = Row(**{monitor: float("nan")}), Row(**{monitor: 1.0})
    assert not better(nan, Row(), monitor)
    assert better(good, Row(), monitor)
    assert not better(nan, good, monitor)
