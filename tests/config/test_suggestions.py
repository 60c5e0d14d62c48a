"""What a wrong name is answered with: the setting that it stands for, or nothing, never another one."""

from pathlib import Path
from typing import Any

import pytest

from helpers.configs import composed
from qa.config.hydra_errors import explain_hydra
from qa.config.run_qa_flags import KEYS
from qa.config.suggestions import NEIGHBOURS, suggestion
from qa.runs.identity import dotted

SILENT = "; see `python train.py --help`"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    _, config = composed("logger=csv", tmp_path=tmp_path_factory.mktemp("cache"))
    return dict(dotted(config))


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("trainer.gpus", "trainer.devices"),
        ("epochs", "trainer.max_epochs"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("num_train_epochs", "trainer.max_epochs"),
        ("max_epoch", "trainer.max_epochs"),
        ("ckpt_path", "resume"),
        ("trainer.resume_from_checkpoint", "resume"),
        ("lr", "optimizer.lr"),
        ("trainer.learning_rate", "optimizer.lr"),
        ("optimizer.rl", "optimizer.lr"),
        ("batch_size", "data.batch_size"),
        ("data.train_batch_size", "data.batch_size"),
        ("data.batchsize", "data.batch_size"),
        ("sweep.trials", "sweep.n_trials"),
        ("model_name", "model.pretrained"),
        ("model.name", "model.pretrained"),
        ("model.path", "model.pretrained"),
        ("model.checkpoint", "model.pretrained"),
        ("data.path", "data.train_file"),
        ("model_name_or_path", "model.pretrained"),
        ("data.train", "data.train_file"),
        ("data.validation", "data.validation_file"),
        ("data.test", "data.test_file"),
        ("max_seq_length", "data.max_length"),
        ("trainer.precison", "trainer.precision"),
        ("output_dir", "hydra.run.dir"),
        ("optimiser", "optimizer"),
        ("mode", "stage"),
        ("patience", "callbacks=early_stopping"),
    ],
)
def test_the_setting_is_named_that_a_word_stands_for(typed: str, key: str, keys: dict[str, Any]) -> None:
    assert suggestion(typed, keys) == f"; did you mean {key}?"


@pytest.mark.parametrize("typed", ["zzz", "foo.bar", "trainer.tpu_cores", "remarks", "data.name2id", "optimizer.rho"])
def test_no_guess_is_better_than_a_wrong_one(typed: str, keys: dict[str, Any]) -> None:
    assert suggestion(typed, keys) == SILENT


def test_a_setting_of_another_choice_is_named_with_it(keys: dict[str, Any]) -> None:
    assert suggestion("logger.project", keys) == "; logger=wandb has it"
    assert suggestion("logger.save_dir", keys) == "; logger=tensorboard has it"
    assert suggestion("logger.entity", keys) == "; set WANDB_ENTITY, which W&B reads"
    assert suggestion("tags", keys) == "; set WANDB_TAGS, which W&B reads"


def test_neighbours_lead_to_settings_that_are_there(keys: dict[str, Any], tmp_path: Path) -> None:
    groups = {key.partition(".")[0] for key in keys}
    for key in {*NEIGHBOURS.values(), *KEYS.values()} - {"sweep.n_trials", "callbacks=early_stopping"}:
        assert key in keys or key in groups or key.startswith("hydra."), key
    _, config = composed("sweep=optuna", "callbacks=early_stopping", tmp_path=tmp_path)
    assert {"sweep.n_trials", "callbacks.early_stopping.patience"} <= dotted(config).keys()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data=x/y.csv", "data=x/y.csv: no such choice; choose one of demo, local, mlqa, squad, squad_v2, tydiqa,"
         " xquad, or data=local data.train_file=x/y.csv"),
        ("model=a/b", "model=a/b: no such choice; choose one of bert, "),
        ("hydra/launcher=joblib", "hydra/launcher=joblib: no such choice; choose one of "),
    ],
)  # fmt: skip
def test_a_file_in_the_place_of_a_choice_is_told_its_setting(word: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Could not find") as caught:
        composed(word, tmp_path=tmp_path)
    assert explain_hydra(caught.value).startswith(message)
