"""Speeds and memory; what is logged is tested with the whole run."""

import torch

from qa.callbacks import Metrics, peak_memory


def test_nothing_measured_is_no_speed() -> None:
    assert Metrics().per_second() == {"train": None, "validation": None}


def test_memory_is_in_gib() -> None:
    assert 0.05 < peak_memory(torch.device("cpu")) < 64
