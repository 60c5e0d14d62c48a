"""Words with dashes: settings as W&B's agent writes them, Hydra's flags, and what is no flag."""

import shlex
from pathlib import Path

import pytest
import yaml
from hydra._internal.utils import get_args_parser

from helpers.commands import Run
from qa.config.flags import OF_HYDRA, plain_words
from qa.errors import UserError


def test_hydras_flags_are_known() -> None:
    options = {option for action in get_args_parser()._actions for option in action.option_strings}
    assert {option for option in options if option.startswith("--")} == {f"--{flag}" for flag in OF_HYDRA.split()}


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("--optimizer.lr=1e-5 --seed=3 --model=minilm", "optimizer.lr=1e-5 seed=3 model=minilm"),
        (
            "--+data.x=1 --hydra/launcher=local --data.train_file=a=b.json",
            "+data.x=1 hydra/launcher=local data.train_file=a=b.json",
        ),
        ("-m --cfg job --config-name=x --config-dir a.b/c -p data seed=1", None),
        ("--multi --info=plugins --help", None),
        ("data.train_file=--x.json", None),
        ("seed=1 -m lr=1,2 --cfg job -p data -cn=x x=1", "-m --cfg job -p data -cn=x seed=1 lr=1,2 x=1"),
        ("logger=null hydra.callbacks=null trainer.logger=null", "'~logger' hydra.callbacks=null trainer.logger=null"),
    ],
)
def test_settings_lose_their_dashes_and_hydras_flags_keep_them(given: str, understood: str | None) -> None:
    assert shlex.join(plain_words(given.split())) == (understood or given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--optimizer.lr 1e-5", "--optimizer.lr: not understood; write optimizer.lr=1e-5"),
        ("--model minilm", "--model: not understood; write model=minilm"),
        ("--model my/folder", "--model: not understood; write model.pretrained=my/folder"),
        ("--data a/b.csv seed=1", "--data: not understood; write data=local data.train_file=a/b.csv"),
        ("--data --multirun", "--data: not understood; write data=VALUE"),
        ("--epochs=3", "--epochs=3: no such flag; did you mean trainer.max_epochs?"),
        ("--batch-size 8", "--batch-size: no such flag; did you mean data.batch_size?"),
        ("logger=[csv,wandb]", "logger=[csv,wandb]: a group with one choice; write it without [ ]"),
        ("--verbose", "--verbose: no such flag; see `python train.py --help`"),
        ("--seed 3", "--seed: a flag of run_qa.py; `python -m qa.from_run_qa --seed …`"),
        ("--experimental-rerun config.pickle", "--experimental-rerun: a pickle can run code"),
    ],
)
def test_other_flags_are_answered_in_one_line(given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        plain_words(given.split())
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "flags",
    ["--config-path {} --config-name config", "-cp {}", "--config-path={}", "--experimental-rerun {}/config.pickle"],
)
def test_a_saved_run_is_answered_with_the_command_that_repeats_it(flags: str, tmp_path: Path) -> None:
    words = ["data=local", "data.train_file='a b.json'", "model=bert", "optimizer.lr=1e-4"]
    (tmp_path / "overrides.yaml").write_text(yaml.dump(words))
    with pytest.raises(UserError) as caught:
        plain_words([*flags.format(tmp_path).split(), "--model=minilm", "seed=2"])
    command = shlex.split(str(caught.value).partition("repeat it by: ")[2])
    assert command == ["python", "train.py", *words[:2], "model=minilm", "optimizer.lr=1e-4", "seed=2"]


def test_train_py_takes_settings_with_dashes(train_py: Run) -> None:
    done = train_py("--optimizer=adamw", "--optimizer.lr=3e-4", "--cfg", "job", "--package", "optimizer")
    assert (done.returncode, done.stderr) == (0, "")
    found = yaml.safe_load(done.stdout)
    assert (found["_target_"], float(found["lr"])) == ("torch.optim.AdamW", 3e-4)
