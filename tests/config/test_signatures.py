"""The stand-ins take the arguments of what they stand for."""

import inspect
from typing import Any

import lightning
import pytest
import torch

from helpers.configs import composed
from qa.config.signatures import SIGNATURES, module
from qa.data.datamodule import SquadDataModule
from qa.training.module import QuestionAnsweringModule


def defaults(function: Any) -> dict[str, Any]:
    """{parameter: default} of a function, or of a class."""
    parameters = inspect.signature(function).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name not in ("self", "params")}


@pytest.mark.parametrize(
    ("target", "real"),
    [
        ("lightning.Trainer", lightning.Trainer),
        ("qa.SquadDataModule", SquadDataModule),
        ("torch.optim.Adam", torch.optim.Adam),
        ("torch.optim.AdamW", torch.optim.AdamW),
    ],
)
def test_a_stand_in_takes_what_the_real_one_takes(target: str, real: Any) -> None:
    assert defaults(SIGNATURES[target]) == defaults(real)


def test_the_modules_stand_in_takes_what_its_configuration_gives(tmp_path: Any) -> None:
    _, config = composed(tmp_path=tmp_path)
    stand_in, real = defaults(module), defaults(QuestionAnsweringModule)
    assert stand_in.keys() == config["model"].keys() - {"_target_"}
    assert stand_in == {name: real[name] for name in stand_in}
