"""Every config file composes, says what it is for, and fits the signature of what it configures."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from pydantic import BaseModel

import train  # noqa: F401  registers the resolvers
from helpers.configs import GROUPS, composed
from helpers.paths import ROOT
from qa import recipe
from qa.config.settings import Settings, check_settings
from qa.config.targets import check_values
from qa.config.trainer_limits import TRAINER_LIMITS
from qa.data.datamodule import SquadDataModule
from qa.data.squad_data import SquadData
from qa.errors import UserError
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule

FILES = sorted((ROOT / "conf").glob("*/*.yaml"))


@pytest.mark.parametrize("group", sorted({path.parent.name for path in FILES}))
def test_every_choice_composes_is_checked_and_instantiates(group: str, tmp_path: Path) -> None:
    for choice in (path.stem for path in FILES if path.parent.name == group):
        cfg, config = composed(f"{group}={choice}", tmp_path=tmp_path)
        check_settings(config)
        check_values({name: config[name] for name in GROUPS})
        built = [instantiate(cfg[name]) for name in ("data", "optimizer", "scheduler")]
        assert all(callable(part) or isinstance(part, lightning.LightningDataModule) for part in built), choice
        assert isinstance(instantiate(cfg.trainer), lightning.Trainer), choice
        assert all(isinstance(instantiate(node), lightning.Callback) for node in cfg.callbacks.values()), choice
        if cfg.get("logger"):
            assert isinstance(instantiate(cfg.logger), lightning.pytorch.loggers.Logger), choice


def test_every_file_begins_with_its_purpose_and_a_command() -> None:
    heads = {}
    for path in (*(ROOT / "conf").glob("*.yaml"), *FILES):
        first, second = [*path.read_text().splitlines(), ""][:2]
        heads[path] = second if first == "# @package _global_" else first  # Hydra wants its own line on top
    assert [path for path, head in heads.items() if not re.match("# .*  python train.py", head)] == []


def test_every_argument_of_the_trainer_can_be_set(tmp_path: Path) -> None:
    keys = composed(tmp_path=tmp_path)[1]["trainer"].keys() - {"_target_"}
    assert keys == set(inspect.signature(lightning.Trainer).parameters)
    assert {*" ".join(TRAINER_LIMITS).split()} <= keys
    assert keys == composed("trainer=sharded", tmp_path=tmp_path)[1]["trainer"].keys() - {"_target_"}


def test_the_data_are_checked_by_the_arguments_of_their_target() -> None:
    assert inspect.signature(SquadDataModule) == inspect.signature(SquadData)


def test_the_default_is_the_published_recipe(tmp_path: Path) -> None:
    _, config = composed(tmp_path=tmp_path)
    adam = {"lr": 2e-5, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
    assert config["optimizer"] == {"_target_": "torch.optim.Adam", "_partial_": True, **adam}
    assert config["model"]["pretrained"] == recipe.MODEL == "google-bert/bert-base-multilingual-cased"
    assert config["scheduler"] == {
        "_target_": "qa.schedule",
        "_partial_": True,
        "name": "linear",
        "warmup_ratio": 0,
    }
    data = [config["data"][key] for key in ("name", "max_length", "stride", "batch_size", "eval_batch_size", "seed")]
    assert data == ["rajpurkar/squad", 384, 128, 16, None, 42]
    assert data[:4] == [recipe.DATA, recipe.MAX_LENGTH, recipe.STRIDE, recipe.BATCH_SIZE]
    decode = {"n_best": 20, "max_answer_length": 30}
    assert config["decode"] == decode == {"n_best": recipe.N_BEST, "max_answer_length": recipe.MAX_ANSWER_LENGTH}
    assert (config["trainer"]["max_epochs"], config["trainer"]["gradient_clip_val"]) == (3, 1.0)


def test_settings_know_every_top_level_key(tmp_path: Path) -> None:
    _, config = composed("logger=csv", tmp_path=tmp_path)
    assert set(config) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage=fti", "stage=fti: should be 'fit', 'validate', 'test' or 'predict'"),
        ("seed=-1", "seed=-1: should be greater than or equal to 0"),
        ("decode.n_best=0", "decode.n_best=0: should be greater than 0"),
        ("checkpoint.monitor=loss", "checkpoint.monitor=loss: should be val_loss, exact_match, f1, or of languages"),
        ("optimizer.lr=abc", "optimizer.lr=abc: should be a number such as 0.1"),
        ("data.batching=sorted", "data.batching=sorted: should be 'bucketed' or 'random'"),
        ("data.batch_size=0", "data.batch_size=0: should be greater than 0"),
        ("data.limit=none", "data.limit=none: should be a whole number such as 16"),
        ("trainer.num_nodes=2", "trainer.num_nodes=2: refused; start the nodes with torchrun or srun"),
        ("checkpoint.every_n_steps=0", "checkpoint.every_n_steps=0: should be greater than 0"),
        ("checkpoint.optimizer_state=best", "checkpoint.optimizer_state=best: should be 'all' or 'last'"),
        ("data.cache_gib=0", "data.cache_gib=0: should be greater than 0"),
        ("model.attention=fast", "model.attention=fast: should be 'auto', 'sdpa', 'eager' or 'flash'"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0: should be .* without an evaluation"),
        ("trainer.limit_test_batches=1.5", "trainer.limit_test_batches=1.5: should be a number of batches"),
        ("trainer.val_check_interval='00:00:30:00'", "trainer.val_check_interval=00:00:30:00: each process .* clock"),
        ("matmul_precision=tf32", "matmul_precision=tf32: should be 'highest', 'high' or 'medium'"),
        ("trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches=2: refused"),
        ("trainer.overfit_batches=3", "trainer.overfit_batches=3: refused; use data.limit"),
        ("trainer.use_distributed_sampler=true", "trainer.use_distributed_sampler=True: refused"),
        ("trainer.logger=true", "trainer.logger=True: refused; it is a group of its own"),
        ("trainer.precision=fp8", "trainer.precision=fp8: should be"),
        ("trainer.max_epochs=-1", "trainer.max_epochs: the schedule needs an end"),
        ("+optimizer.momentum=1", "optimizer.momentum: no such setting"),
        ("+model.seed=1", "model.seed: no such setting"),
        ("model.dropout=1", "model.dropout=1: should be less than 1"),
        ("+data.batchsize=1", "data.batchsize: no such setting; did you mean batch_size"),
        ("+speed=1", "speed: no such setting"),
        ("optimizer._target_=torch.optim.Adan", "optimizer._target_=torch.optim.Adan: not found"),
        ("scheduler.warmup_ratio=2", "scheduler.warmup_ratio=2: should be less than or equal to 1"),
        ("scheduler.name=lin", "scheduler.name=lin: should be 'linear', 'cosine' or 'constant'"),
    ],
)
def test_an_impossible_value_is_one_line_with_the_choices(override: str, message: str, tmp_path: Path) -> None:
    _, config = composed(override, tmp_path=tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        check_settings(config)
        check_values({name: config[name] for name in GROUPS})
    assert "\n" not in str(caught.value)


INTENDED = {  # keys whose value in conf/ is meant to be another than the constructor's default
    "qa.SquadDataModule": {"name", "seed"},  # the recipe's data, the run's seed
    "qa.TensorBoard": {"name", "version", "default_hp_metric"},  # one plain folder in the run's, without a mock metric
    "torch.optim.Adam": {"lr"},
    "torch.optim.AdamW": {"lr"},
    "optuna.samplers.TPESampler": {"n_startup_trials"},  # a study of 20 trials has no room for 10 random ones
    "lightning.Trainer": {
        "devices", "max_epochs", "gradient_clip_val", "gradient_clip_algorithm", "precision", "default_root_dir",
        "num_sanity_val_steps", "log_every_n_steps", "enable_checkpointing", "enable_progress_bar",
        "enable_model_summary", "enable_autolog_hparams", "use_distributed_sampler",
    },
    "lightning.pytorch.strategies.ModelParallelStrategy": {
        "data_parallel_size", "tensor_parallel_size", "save_distributed_checkpoint",
    },
}  # fmt: skip


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Every node with a `_target_`."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for child in node.values():
            yield from targets(child)


def content(path: Path) -> dict[str, Any]:
    """What a file holds, with the files outside of its group that it builds on."""
    values: Any = OmegaConf.to_container(OmegaConf.load(path))
    outside = re.findall(r"'/(\w+)@_here_'", str(values.get("defaults")))
    bases = [content(ROOT / "conf" / f"{name}.yaml") for name in outside]
    return {key: value for part in (*bases, values) for key, value in part.items()}


def in_a_fit(value: Any) -> Any:
    """A value of conf/, without what an evaluation takes instead."""
    found = re.fullmatch(r"\$\{of_model:\w+,(\d+)\}", str(value))
    return int(found[1]) if found else value


def plain(value: Any) -> Any:
    """A default as YAML writes it."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return list(value) if isinstance(value, tuple) else value


def others(values: dict[str, Any], function: Any) -> set[str]:
    """The keys whose value is not the default of the function's parameter of that name."""
    parameters = inspect.signature(function).parameters
    given = {name: plain(p.default) for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return {key for key, value in values.items() if key in given and in_a_fit(value) != given[key]}


def test_values_of_conf_are_the_defaults_of_what_they_configure() -> None:
    found: dict[str, set[str]] = {}
    for path in FILES:
        for node in targets(content(path)):
            found.setdefault(node["_target_"], set()).update(others(node, get_object(node["_target_"])))
    assert {target: keys for target, keys in found.items() if keys} == INTENDED


def test_values_of_config_yaml_are_the_defaults_of_what_they_configure() -> None:
    config: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "config.yaml"))
    module = {**config["decode"], "seed": config["seed"], "nonfinite": config["nonfinite"]}
    assert others(module, QuestionAnsweringModule) == set()
    assert others(config["checkpoint"], History) == {"every_n_minutes"}  # a history by itself has no clock
    assert others(config["checkpoint"], CheckpointFiles) == set()
