"""The history's state and the best epoch; what it writes is tested with the whole run."""

from pathlib import Path

import torch

from qa.callbacks import History, Throughput, peak_memory
from qa.report import Row


def test_history_goes_on_from_its_state(tmp_path: Path) -> None:
    history, other = History(tmp_path), History(tmp_path)
    history.rows = [Row(epoch=1, step=5, val_loss=0.5), Row(epoch=2, step=10, val_loss=0.7)]
    history.best = history.rows[0]
    torch.save(history.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (other.rows, other.best) == (history.rows, history.best)


def test_nothing_measured_is_no_speed() -> None:
    assert Throughput().per_second() == {"train": None, "validation": None}


def test_memory_is_in_gib() -> None:
    assert 0.05 < peak_memory(torch.device("cpu")) < 64
