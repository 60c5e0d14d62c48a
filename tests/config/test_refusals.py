"""One exit path: whatever a user types, what cannot work is one line before any data is read."""

import inspect
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from helpers.configs import GROUPS, composed
from qa import processes
from qa.config.devices import wanted_devices
from qa.config.flags import plain_words
from qa.config.hydra_errors import explain_hydra, explain_in_job
from qa.config.run_start import check_sweep
from qa.config.settings import check_settings, check_sources
from qa.config.suggestions import CONF
from qa.config.targets import build, check_complete, check_values
from qa.errors import UserError


def refusal(config: dict[str, Any], *words: str) -> str:
    """What train.py answers to a configuration that words gave, before it reads data; empty where it would begin."""
    try:
        check_complete(config, words)
        settings = check_settings(config)
        check_values({name: config[name] for name in GROUPS if name in config})
        wanted_devices(settings.trainer)
        build({**settings.trainer, "max_steps": -1, "enable_checkpointing": False}, "trainer")
    except Exception as error:
        if (line := explain_in_job(error)) is None:
            raise
        return line
    return ""


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A composed configuration."""
    config: dict[str, Any] = composed("model=minilm", "logger=csv", tmp_path=tmp_path_factory.mktemp("usual"))[1]
    return config


WRONG: dict[str, list[Any]] = {  # values of a trainer's argument that are refused
    "accelerator": ["gpu", "cuda", "tpu", "cpux", None],
    "strategy": ["ddp_spawn", "ddp_fork", "ddp_notebook", "fsdp", "deepspeed", "single_xla", "x", {}, None],
    "devices": [0, -2, [], [0], -1, "gpu", [-1], "0,1", None, True],
    "num_nodes": [0, 2],
    "precision": ["fp8", 8],
    "logger": [True, False, "csv"],
    "callbacks": [["x"], "x"],
    "max_epochs": [0, -1, -2, None, 1.5, 1e2, 2**40, "3", True],
    "min_epochs": [4, "x"],
    "max_steps": [0, -2, 1e3, None],
    "max_time": ["abc", 3],
    "limit_train_batches": [0, 1.5, 2.0, -1, "x", True],
    "limit_val_batches": [0, 0.0, 1.5, -1, "x"],
    "limit_test_batches": [0, "x"],
    "limit_predict_batches": [0, "x"],
    "overfit_batches": [0.1, 1],
    "val_check_interval": [0, -1, 1.5, "00:00:30:00", {"hours": 1}, True],
    "check_val_every_n_epoch": [0, -1, None, True],
    "gradient_clip_val": [-1, float("nan"), "x"],
    "gradient_clip_algorithm": ["x"],
    "accumulate_grad_batches": [2, 0],
    "use_distributed_sampler": [True],
    "profiler": ["x", True],
    "barebones": [True],
    "plugins": ["x"],
    "deterministic": ["maybe"],
}
FINE: dict[str, list[Any]] = {
    "accelerator": ["auto", "cpu"],
    "strategy": ["auto", "ddp", "ddp_find_unused_parameters_true"],
    "devices": [1, "1", "auto"],
    "precision": ["32-true", "bf16-mixed", 32, "bf16-true", None],
    "callbacks": [[], None],
    "max_epochs": [1],
    "max_time": ["00:01:00:00", {"hours": 1}],
    "min_epochs": [3, None],
    "min_steps": [3],
    "limit_train_batches": [0.5, 1, 1.0],
    "limit_val_batches": [0.5, 1],
    "val_check_interval": [0.5, 1, 100_000, 1.0],
    "check_val_every_n_epoch": [1, 7],
    "plugins": [None, []],
    "gradient_clip_val": [0, 0.5, None],
    "gradient_clip_algorithm": ["norm", "value"],
}


@pytest.mark.parametrize("name", inspect.signature(lightning.Trainer).parameters)
def test_no_argument_of_the_trainer_ends_in_a_traceback(name: str, usual: dict[str, Any]) -> None:
    """Each with its usual values, useless ones, and one of every type."""

    def answer(value: Any) -> str:
        line = refusal({**usual, "trainer": {**usual["trainer"], name: value}})
        assert not line or (line.startswith("trainer") and "\n" not in line), value
        return line

    assert not any(map(answer, FINE.get(name, [])))
    assert all(map(answer, WRONG.get(name, [])))
    for value in (True, 0, -1, 3, 0.5, "word", [1], {"a": 1}, None):
        answer(value)
    assert refusal(usual, f"~trainer.{name}") == f"trainer.{name}: cannot be left out; give it a value"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("~scheduler", "scheduler: cannot be left out; give it a value"),
        ("scheduler=null", "scheduler: cannot be left out"),
        ("~scheduler.warmup_ratio", "scheduler.warmup_ratio: cannot be left out"),
        ("~optimizer._target_", "optimizer._target_: cannot be left out"),
        ("~data.stride", "data.stride: cannot be left out"),
        ("~checkpoint.keep", "checkpoint.keep: cannot be left out"),
        ("~resume", "resume: cannot be left out"),
        ("~optimizer.betas", ""),
        ("~callbacks", ""),
        ("callbacks=null", ""),
        ("~callbacks.live_line", ""),
        ("~logger", ""),
        ("logger=null", ""),
        ("~sweep", ""),
        ("experiment=null", ""),
        ("+experiment=demo", "+experiment=demo: experiment is a choice already; remove the plus"),
        ("++trainer.max_epochs=1", ""),
        ("+optimizer.fused=true", ""),
        ("optimizer.lr=1e-4,1e-3", "optimizer.lr=1e-4,1e-3: several values; add -m for a run of each"),
        ("seed=range(1,3)", "seed=range(1,3): several values; add -m"),
        ("optimizer.lr=interval(1,2)", "optimizer.lr=interval(1,2): a range is for a search; -m sweep=optuna"),
        (
            "hydra.sweeper.n_trials=2",
            "hydra.sweeper.n_trials: no such setting; -m sweep=optuna searches: sweep.n_trials",
        ),
        ("optimizer.lr 1e-4", "optimizer.lr: not understood; write optimizer.lr=VALUE"),
        ("seed:1", "seed:1: not understood; write seed=VALUE"),
        ("validate", "validate: not understood; write stage=validate"),
        ("args.json", "args.json: not understood; settings are KEY=VALUE"),
        ("~model model.pretrained=x", "model.pretrained: there is no model to set it of; remove ~model or model=null"),
        ("model=", "model=: no such choice; choose one of bert,"),
        ("model=bert,roberta", "model=bert,roberta: several values; add -m for a run of each"),
        ("hydra.mode=x", "hydra.mode=x: Invalid value 'x', expected one of [RUN, MULTIRUN]"),
        (
            "data.train_file=[ä.json,b]",
            "data.train_file=[ä.json,b]: not understood; a value with special characters"
            " needs quotes: 'data.train_file=[\"ä.json\",b]'",
        ),
        ("optimizer.betas=[0.9]", "optimizer.betas=[0.9]: should be longer"),
        ("+sweep.space={optimizer:{lr:{low:2,high:1}}}", "sweep.space.optimizer.lr={'low': 2, 'high': 1}: should be"),
        ("optimizer._target_=qa.No", "optimizer._target_=qa.No: not found (Error loading 'qa.No': ModuleNotFound"),
        ("resume=true", "resume=True: should be auto, never or a checkpoint"),
        ("logger=wandb logger.projct=x", "logger.projct: no such setting; did you mean logger.project?"),
        ("data.train_file=[a", "data.train_file=[a: not understood"),
        ("data.train_file=${oc.env:NOWHERE}", "data.train_file: KeyError raised while"),
        ("trainer.min_steps=9 trainer.max_steps=2", "trainer.min_steps=9: more than trainer.max_steps=2"),
    ],
)
def test_what_users_of_hydra_type(words: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = ["data=local", "model=minilm", *([] if "logger" in words else ["logger=csv"])]
    monkeypatch.setattr(sys, "argv", ["train.py", *words.split()])
    try:
        plain = plain_words(words.split())
        line = refusal(composed(*choices, *plain, tmp_path=tmp_path)[1], *plain)
    except (HydraException, OmegaConfBaseException) as error:
        line = explain_hydra(error)
    assert line.startswith(answer) and bool(line) == bool(answer) and "\n" not in line


@pytest.mark.parametrize(
    ("accelerator", "devices", "count"),
    [
        ("auto", "auto", 4), ("gpu", -1, 4), ("cuda", "0,2", 2), ("auto", [3], 1), ("gpu", 3, 3), ("gpu", "2", 2),
        ("gpu", 5, "trainer.devices=5: GPUs here: 4; give others, or auto for all"),
        ("auto", [4], "trainer.devices=[4]: GPUs here: 4; give others, or auto for all"),
    ],
)  # fmt: skip
def test_devices_of_a_machine_with_four_gpus(
    accelerator: str, devices: Any, count: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qa.config.devices.gpu_count", lambda _: 4)
    try:
        answer: Any = wanted_devices({"accelerator": accelerator, "devices": devices})
    except UserError as error:
        answer = str(error)
    assert answer == count


def test_a_search_without_m_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config", ["sweep=optuna", "logger=csv"], return_hydra_config=True)
    with pytest.raises(UserError, match="sweep=optuna: sweeps with -m alone; add -m"):
        check_sweep(cfg)
    monkeypatch.setenv(processes.SWEEP, "1")  # as a job of the search has it
    check_sweep(cfg)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, "data.train_file: not given; give one path, a list or a glob"),
        ({"train_file": "good.csv"}, "data.validation_file: not given; give one path, a list or a glob, or data.valid"),
        (
            {"train_file": "good.csv", "validation_file": "bad.csv"},
            "bad.csv: no column 'question' (there: Frage, context",
        ),
        ({"train_file": "good.csv", "validation_share": 0.5}, ""),
    ],
)
def test_data_that_are_not_given_or_not_named_are_refused_before_torch(
    files: dict[str, Any], line: str, usual: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text("question,context,answer\n,,\n")  # a bad record is for the stage
    Path("bad.csv").write_text("Frage,context,answer\nWho?,Ada.,Ada\n")
    settings = check_settings({**usual, "data": {**usual["data"], "name": None, **files}})
    try:
        check_sources(settings)
        said = ""
    except UserError as error:
        said = str(error)
    assert said.startswith(line) and bool(said) == bool(line), said
