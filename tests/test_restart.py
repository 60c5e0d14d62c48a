"""Killed at any moment, a run goes on to the very result that it would have had."""

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from helpers.commands import Run, quick_fit, started
from helpers.paths import ROOT

Files = tuple[Path, Path]
LATE = """
import runpy
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.training_steps import TrainingSteps
CheckpointFiles.late = TrainingSteps.late = frozenset({"cpu"})
runpy.run_path("train.py", run_name="__main__")
"""  # as on a GPU
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# nothing is better by 99: six evaluations
EARLY = ["callbacks=early_stopping", "callbacks.early_stopping.patience=5", "callbacks.early_stopping.min_delta=99"]


def arguments(files: Files, tiny: Path, cache: Path, *more: str) -> list[str]:
    return quick_fit(files, tiny, cache, "trainer.max_epochs=8", "checkpoint.every_n_steps=3", *more)


def start(command: list[str], folder: Path, program: str = "train.py", fresh: bool = False) -> "subprocess.Popen[str]":
    """Starts a run and returns when it trains."""
    arguments, file = [*command, f"hydra.run.dir={folder}"], folder / "metrics.csv"
    return started(arguments, file, program=program, newer_than=time.time(), fresh=fresh, PYTHONPATH=str(ROOT))


def left(folder: Path) -> tuple[Any, list[tuple[str, ...]], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What must not depend on interruptions: results, metrics, final weights, best weights."""
    results = json.loads((folder / "results.json").read_text())
    del results["windows_per_second"], results["seconds"]
    results["identity"]["inputs"].pop("resume", None)
    results["about"].pop("finished")  # when that was
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
    for name in ("predictions.json", "nbest.json", "questions.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.guarantee(
    "Killed five times on 1, 2 and 4 ranks, dropout on: weights `torch.equal`, each step logged once"
)
@pytest.mark.parametrize(
    ("devices", "more"),
    [
        pytest.param(1, [], id="1", marks=pytest.mark.long),
        pytest.param(2, [], id="2"),
        pytest.param(
            1,
            ["trainer.check_val_every_n_epoch=2", "checkpoint.every_n_steps=1"],
            id="seldom evaluated",
            marks=pytest.mark.long,
        ),
        pytest.param(1, EARLY, id="stopped early", marks=pytest.mark.long),
        pytest.param(1, ["trainer.val_check_interval=0.5"], id="often evaluated", marks=pytest.mark.long),
        pytest.param(3, [], id="3", marks=pytest.mark.long),
        pytest.param(4, [], id="4", marks=pytest.mark.long),
        pytest.param(2, ["trainer=sharded"], id="sharded", marks=pytest.mark.long),
    ],
)
def test_killed_at_random_moments_a_run_ends_as_if_never_killed(
    devices: int,
    more: list[str],
    train_py: Run,
    tiny: Path,
    small_files: Files,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache", f"trainer.devices={devices}", *more)
    process = start(command, tmp_path / "whole")
    training = time.monotonic()
    assert process.wait() == 0, process.stderr
    length = time.monotonic() - training
    moments = random.Random(devices)
    kills = 0
    for _ in range(5 if pytestconfig.getoption("--prove") else 3):
        process = start(command, tmp_path / "cut")
        time.sleep(moments.uniform(0, 0.15 * length))  # early, so that a start on a quieter machine is cut too
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 2
    done = train_py(*command, f"hydra.run.dir={tmp_path}/cut")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resumed at step" in done.stdout or "is finished" in done.stdout
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.long
@pytest.mark.guarantee(
    "Killed, with steps read late and checkpoints written aside as on a GPU: the same weights and log"
)
def test_killed_at_random_moments_as_on_a_gpu(tiny: Path, small_files: Files, tmp_path: Path) -> None:
    """Three times by SIGKILL, then by SIGTERM, which saves and reads the current step."""
    program = tmp_path / "late.py"
    program.write_text(LATE)
    command = arguments(small_files, tiny, tmp_path / "cache")
    process = start(command, tmp_path / "whole", str(program))
    training = time.monotonic()
    assert process.wait() == 0, process.stderr
    length = time.monotonic() - training
    moments = random.Random(7)
    for signum in (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        process = start(command, tmp_path / "cut", str(program))
        time.sleep(moments.uniform(0, 0.2 * length))
        process.send_signal(signum)
        _, said = process.communicate()
        assert process.returncode == (143 if signum == signal.SIGTERM else -signal.SIGKILL), said
    logged = (tmp_path / "cut" / "metrics.csv").read_text().splitlines()
    checkpoint = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == int(logged[-1].split(",")[0])
    process = start(command, tmp_path / "cut", str(program))
    assert process.wait() == 0, process.stderr
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.guarantee("SIGTERM, Ctrl-C and a closed terminal save the current step; they end an evaluation at once")
@pytest.mark.parametrize(
    ("devices", "signum", "status"),
    [
        (1, signal.SIGTERM, 143),
        pytest.param(2, signal.SIGINT, 130, marks=pytest.mark.long),
        pytest.param(2, signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(1, signal.SIGUSR1, 138, marks=pytest.mark.long),
    ],
)
def test_a_signal_saves_a_checkpoint_within_a_step(
    devices: int, signum: int, status: int, train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache", f"trainer.devices={devices}")
    assert train_py(*command, f"hydra.run.dir={tmp_path}/whole").returncode == 0
    process = start(command, tmp_path / "cut", fresh=True)
    process.send_signal(signum)
    _, said = process.communicate(timeout=90)
    assert process.returncode == status
    assert said.startswith("interrupted; ")
    assert said.count("\n") == 1
    logged = (tmp_path / "cut" / "metrics.csv").read_text().splitlines()
    checkpoint = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == int(logged[-1].split(",")[0])
    assert not (tmp_path / "cut" / "results.json").exists()
    assert (tmp_path / "cut" / "interrupted.txt").read_text().endswith(f" {signal.Signals(signum).name}\n")
    done = train_py(*command, f"hydra.run.dir={tmp_path}/cut")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "cut" / "interrupted.txt").exists()
    assert f"resumed at step {checkpoint['global_step']}" in done.stdout
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_mixture_resumes_in_mid_epoch_and_is_the_same_on_two_ranks(
    train_py: Run, exact: Path, small_files: Files, tmp_path: Path
) -> None:
    own = tmp_path / "own.json"
    own.write_text(small_files[1].read_text().replace("Tollen", "Marlen"))
    mixture = ["data.mixture={train:0.5,own:2.5}", "data.negative_windows=0.4", "trainer.max_epochs=3"]
    command = arguments(small_files, exact, tmp_path / "cache", *mixture, f"data.train_file=[{small_files[0]},{own}]")
    done = train_py(*command, f"hydra.run.dir={tmp_path}/whole")
    assert "epoch       77 windows: train 34 from 80, own 43 from 20; of" in done.stdout, done.stdout
    process = start(command, tmp_path / "cut")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    cut = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert f"resumed at step {cut}" in train_py(*command, f"hydra.run.dir={tmp_path}/cut").stdout
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert train_py(*command, "trainer.devices=2", f"hydra.run.dir={tmp_path}/two").returncode == 0
    (one, metrics, *_), (two, metrics2, *_) = left(tmp_path / "whole"), left(tmp_path / "two")
    assert one["windows"] == two["windows"] == {"train": 77, "validation": 20}
    losses, losses2 = ([float(line[1]) for line in lines[1:] if line[1]] for lines in (metrics, metrics2))
    assert losses2 == pytest.approx(losses, abs=1e-4)


@pytest.mark.guarantee("SIGTERM, Ctrl-C and a closed terminal save the current step; they end an evaluation at once")
def test_a_terminal_that_is_closed_costs_no_step(tiny: Path, small_files: Files, tmp_path: Path) -> None:
    command = arguments(
        small_files, tiny, tmp_path / "cache", "trainer.max_epochs=500", "checkpoint.every_n_steps=9999"
    )
    metrics = tmp_path / "run" / "metrics.csv"
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup
        os.chdir(ROOT)
        os.execl(sys.executable, sys.executable, "train.py", *command, f"hydra.run.dir={tmp_path}/run")
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 3):
        assert os.read(terminal, 65536)  # the live line must not wait for a reader
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert (tmp_path / "run" / "interrupted.txt").read_text().endswith(" SIGHUP\n")
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == int(metrics.read_text().splitlines()[-1].split(",")[0])


@pytest.mark.guarantee("SIGTERM, Ctrl-C and a closed terminal save the current step; they end an evaluation at once")
def test_a_signal_in_an_evaluation_ends_a_run_also_with_workers(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    files = small_files[0], small_files[0]
    slow = ["data.num_workers=2", "data.eval_batch_size=1"]
    command = arguments(files, tiny, tmp_path / "cache", "checkpoint.every_n_steps=999", "trainer.max_epochs=2", *slow)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"  # is saved before an evaluation
    process = started([*command, f"hydra.run.dir={tmp_path}/run"], last, fresh=True)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1].partition(";")[0]) == (143, "interrupted"), said
    assert not (tmp_path / "run" / "metrics.csv").read_text().splitlines()[-1].split(",")[-1]  # no evaluation ended
    done = train_py(*command, f"hydra.run.dir={tmp_path}/run")
    assert (done.returncode, "resumed at step 5" in done.stdout) == (0, True), done.stderr


@pytest.mark.guarantee("SIGTERM, Ctrl-C and a closed terminal save the current step; they end an evaluation at once")
def test_an_interrupted_evaluation_is_not_finished(tiny: Path, small_files: Files, tmp_path: Path) -> None:
    files = small_files[0], small_files[0]
    command = arguments(files, tiny, tmp_path / "cache", "stage=validate", "data.eval_batch_size=1")
    with subprocess.Popen(
        [sys.executable, "train.py", *command, f"hydra.run.dir={tmp_path}/run"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("output"):
            assert line
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.splitlines()[-1].startswith("interrupted; ")
    assert (tmp_path / "run" / "interrupted.txt").read_text().endswith(" SIGTERM\n")
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.guarantee(
    "A loss that is not finite ends the run with step, windows, questions and learning rate; earlier checkpoints stay"
)
@pytest.mark.parametrize("devices", [1, 2])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoints_before_it(
    devices: int, train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache", f"trainer.devices={devices}", "optimizer.lr=1e20")
    done = train_py(*command, "checkpoint.every_n_steps=1", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 2
    named = (
        "the loss is nan",
        "gradient norm nan",
        "learning rate 9.75e+19",
        "training windows (questions) ",
        "lower opt",
    )
    for words in named:
        assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.guarantee(
    "A checkpoint of other data, seed, batch size, optimizer or model shape is refused, with what differs"
)
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
    assert "last.ckpt: of another run: the content of train (" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.guarantee(
    "Sharded over 2 ranks (FSDP2): the losses of one device within 1e-4; any number of devices resumes its checkpoints"
)
def test_a_sharded_run_has_the_losses_of_one_device(
    train_py: Run, exact: Path, small_files: Files, tmp_path: Path
) -> None:
    command = [*arguments(small_files, exact, tmp_path / "cache"), "data.batch_size=13"]
    assert train_py(*command, f"hydra.run.dir={tmp_path}/one").returncode == 0
    command += ["trainer=sharded", "trainer.accelerator=cpu", "trainer.max_epochs=8", "trainer.devices=2"]
    process = start(command, tmp_path / "two")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    last = tmp_path / "two" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    torch.save({**checkpoint, "pending": True}, last)  # as if killed in an evaluation
    done = train_py(*command, f"hydra.run.dir={tmp_path}/two")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resumed at step" in done.stdout
    (one, metrics, *_), (two, metrics2, *_) = left(tmp_path / "one"), left(tmp_path / "two")
    losses, losses2 = ([float(line[1]) for line in lines[1:] if line[1]] for lines in (metrics, metrics2))
    assert losses2 == pytest.approx(losses, abs=1e-4)
    assert two["best"] == pytest.approx(one["best"], abs=1e-4)
    weights = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "two" / "model").state_dict()
    best = left(tmp_path / "two")[3]
    assert all(torch.equal(weight, best[f"model.{name}"]) for name, weight in weights.items())


def test_a_checkpoint_of_another_folder_brings_its_best_epoch_along(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    seldom = ["checkpoint.keep=3", "trainer.check_val_every_n_epoch=2", "checkpoint.monitor=exact_match"]
    command = arguments(small_files, tiny, tmp_path / "cache", *seldom)  # whose EM stays what it is
    assert train_py(*command, "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}/one").returncode == 0
    held = sorted(path.name for path in (tmp_path / "one" / "checkpoints").iterdir())
    assert held == ["best.ckpt", "last.ckpt", "step-5.ckpt", "step-6.ckpt", "step-9.ckpt"]
    last, two = tmp_path / "one" / "checkpoints" / "last.ckpt", tmp_path / "two"
    command += ["trainer.max_epochs=3", f"resume={last}", f"hydra.run.dir={two}"]
    refused = train_py(*command, "optimizer.lr=1.0")
    assert refused.returncode == 2
    assert "of another run: optimizer.lr (0.001 there, 1.0 here); give another hydra.run.dir" in refused.stderr
    done = train_py(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert left(two)[0]["best"]["step"] == 10
    assert "schedule changed at step 10: 15 steps in all, 10 before" in done.stdout
    change = {"step": 10, "total_steps_before": 10, "total_steps": 15}
    assert left(two)[0]["schedule_changes"] == [change]
    assert "The schedule changed at step 10" in (two / "model" / "README.md").read_text()
    rates = {
        line.split(",")[0]: float(line.split(",")[2]) for line in (two / "metrics.csv").read_text().splitlines()[1:6]
    }
    assert rates == pytest.approx({str(step): 1e-3 * (1 - (step - 1) / 15) for step in range(11, 16)}, rel=1e-5)
    before, seconds = (
        json.loads((folder / "results.json").read_text())["seconds"] for folder in (tmp_path / "one", two)
    )
    assert seconds > before
    for path in ("predictions.json", "checkpoints/best.ckpt"):
        assert (two / path).read_bytes() == (tmp_path / "one" / path).read_bytes()
