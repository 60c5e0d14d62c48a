"""Killed at any moment, a run goes on to the very result that it would have had."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Run

Files = tuple[Path, Path]


def arguments(files: Files, tiny: Path, cache: Path, *more: str) -> list[str]:
    return [
        "data=local", f"data.train_file={files[0]}", f"data.validation_file={files[1]}", f"data.cache_dir={cache}",
        "data.max_length=64", "data.stride=16", f"model.pretrained={tiny}", "optimizer.lr=1e-3",
        "trainer.accelerator=cpu", "trainer.max_epochs=8", "checkpoint.every_n_steps=3", *more,
    ]  # fmt: skip


def start(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    """Starts a run and returns when it trains."""
    begun = time.time()
    metrics = folder / "metrics.csv"
    process = subprocess.Popen(
        [sys.executable, "train.py", *command, f"hydra.run.dir={folder}"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime > begun):
        time.sleep(0.005)
    return process


def left(folder: Path) -> tuple[Any, list[tuple[str, ...]], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What must not depend on interruptions: results, metrics, final weights, best weights."""
    results = json.loads((folder / "results.json").read_text())
    del results["windows_per_second"]
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    metrics = [(*line[:4], *line[7:]) for line in lines]
    last, best = (
        torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
        for name in ("last", "best")
    )
    return results, metrics, last, best


def assert_same(one: Path, other: Path) -> None:
    (results, metrics, *weights), (results2, metrics2, *weights2) = left(one), left(other)
    assert results == results2
    assert metrics == metrics2
    for tensors, tensors2 in zip(weights, weights2, strict=True):
        assert all(torch.equal(tensor, tensors2[name]) for name, tensor in tensors.items())
    for name in ("predictions.json", "nbest.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    ("devices", "more"),
    [(1, []), (2, []), (1, ["trainer.check_val_every_n_epoch=2", "checkpoint.every_n_steps=1"])],
    ids=["1", "2", "seldom evaluated"],
)
def test_killed_at_random_moments_a_run_ends_as_if_never_killed(
    devices: int, more: list[str], train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache", f"trainer.devices={devices}", *more)
    process = start(command, tmp_path / "whole")
    training = time.monotonic()
    assert process.wait() == 0, process.stderr
    length = time.monotonic() - training
    moments = random.Random(devices)
    kills = 0
    for _ in range(5):
        process = start(command, tmp_path / "cut")
        time.sleep(moments.uniform(0, 0.3 * length))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 2
    done = train_py(*command, f"hydra.run.dir={tmp_path}/cut")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resumed at step" in done.stdout or "is finished" in done.stdout
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(("devices", "signum", "status"), [(1, signal.SIGTERM, 143), (2, signal.SIGINT, 130)])
def test_told_to_end_a_run_saves_a_checkpoint_within_a_step(
    devices: int, signum: int, status: int, train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache", f"trainer.devices={devices}")
    assert train_py(*command, f"hydra.run.dir={tmp_path}/whole").returncode == 0
    process = start(command, tmp_path / "cut")
    process.send_signal(signum)
    _, said = process.communicate(timeout=90)
    assert process.returncode == status
    assert said.startswith("interrupted; ")
    assert said.count("\n") == 1
    logged = (tmp_path / "cut" / "metrics.csv").read_text().splitlines()
    checkpoint = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == int(logged[-1].split(",")[0])
    assert not (tmp_path / "cut" / "results.json").exists()
    done = train_py(*command, f"hydra.run.dir={tmp_path}/cut")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"resumed at step {checkpoint['global_step']}" in done.stdout
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("devices", [1, 2])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoints_before_it(
    devices: int, train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache", f"trainer.devices={devices}", "optimizer.lr=1e20")
    done = train_py(*command, "checkpoint.every_n_steps=1", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 2
    for words in ("step ", "the loss is nan at learning rate", "training windows (questions) ", "lower optimizer.lr"):
        assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert not (tmp_path / "run" / "results.json").exists()


def test_checkpoints_of_another_data_set_are_refused(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache", f"hydra.run.dir={tmp_path}/run")
    process = start(command[:-1], tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    changed = tmp_path / "changed.json"
    changed.write_text(small_files[0].read_text().replace("grey stone", "blue stone"))
    done = train_py(*command, f"data.train_file={changed}")
    assert done.returncode == 2
    assert "last.ckpt: of another run: train windows (" in done.stderr
    assert done.stderr.count("\n") == 1
