"""What torch and Lightning offer and a run cannot use is refused by name, before data are read."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import callbacks as lightnings
from omegaconf import OmegaConf

from helpers.configs import composed
from qa.config.settings import check_settings
from qa.errors import UserError
from qa.training.building import check_optimizer, count_steps
from qa.training.callbacks import build_callbacks
from qa.training.devices import check_precision, lost_updates, unused_options

CPU = torch.device("cpu")


class Own(lightnings.ModelCheckpoint):
    """A user's own kind of checkpoint."""


@pytest.mark.parametrize("name", lightnings.__all__)
def test_callbacks_of_lightning_are_built_or_refused_in_one_line(name: str) -> None:
    more: dict[str, Any] = {"EarlyStopping": {"monitor": "val_loss"}, "StochasticWeightAveraging": {"swa_lrs": 1e-2},
            "GradientAccumulationScheduler": {"scheduling": {0: 2}}, "ModelPruning": {"pruning_fn": "l1_unstructured"},
            "ThroughputMonitor": {"batch_size_fn": "len"}, "Timer": {"duration": "00:01:00:00"},
            "OnExceptionCheckpoint": {"dirpath": "x"}}  # fmt: skip
    node = {"_target_": f"lightning.pytorch.callbacks.{name}", **more.get(name, {})}
    refused = {
        "Checkpoint", "ModelCheckpoint", "OnExceptionCheckpoint", "EarlyStopping", "StochasticWeightAveraging",
        "WeightAveraging", "EMAWeightAveraging", "ModelPruning", "GradientAccumulationScheduler", "BatchSizeFinder",
        "LearningRateFinder",
    }  # fmt: skip
    try:
        assert isinstance(build_callbacks({"mine": node})[0], lightnings.Callback)
        assert name not in refused
    except UserError as error:
        line = str(error)
        assert line.startswith("callbacks.mine: "), line
        assert ("is refused; " in line) == (name in refused), line


def test_a_users_own_checkpoint_is_refused_and_what_is_no_callback() -> None:
    with pytest.raises(UserError, match=r"callbacks\.x: Own is refused; checkpoint"):
        build_callbacks({"x": {"_target_": f"{__name__}.Own"}})
    with pytest.raises(UserError, match=r"callbacks\.x: is no callback of Lightning"):
        build_callbacks({"x": {"_target_": "pathlib.Path"}})


@pytest.mark.parametrize(
    ("part", "target", "line"),
    [
        ("optimizer", "torch.optim.LBFGS", "optimizer: LBFGS doesn't support per-parameter options"),
        ("optimizer", "torch.optim.SparseAdam", "optimizer: "),
        ("optimizer", "torch.optim.SGD", ""),
        ("optimizer", "torch.optim.Adagrad", ""),
        ("optimizer", "torch.optim.RMSprop", ""),
        ("scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau", "scheduler: "),
        ("scheduler", "pathlib.Path", "scheduler: "),
    ],
)
def test_an_optimizer_or_a_schedule_that_cannot_do_a_step_is_one_line(part: str, target: str, line: str) -> None:
    parts: dict[str, Any] = {
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True},
        "scheduler": {"_target_": "qa.schedule", "_partial_": True, "name": "linear", "warmup_ratio": 0.0},
    }
    parts[part] = {"_target_": target, "_partial_": True}
    try:
        check_optimizer(OmegaConf.create(parts), CPU)
        said = ""
    except UserError as error:
        said = str(error)
    assert said.startswith(line) and bool(said) == bool(line), said
    assert "\n" not in said


def test_float16_on_a_cpu_is_refused(tmp_path: Path) -> None:
    settings = check_settings(composed("logger=csv", "trainer.precision=16-mixed", tmp_path=tmp_path)[1])
    with pytest.raises(UserError, match=r"trainer\.precision=16-mixed: GPUs alone .*=bf16-mixed"):
        check_precision(settings, CPU)
    check_precision(settings, torch.device("cuda"))


def test_updates_that_half_precision_loses_are_named() -> None:
    weights = [torch.full((8, 8), 0.04), torch.ones(8)]
    lost = partial(lost_updates, weights)
    assert lost("bf16-true", 2e-5).startswith("weights of about 0.04 change in units of 0.0002, so that most updates")
    assert not (lost("bf16-true", 1e-3) or lost("bf16-mixed", 2e-5) or lost("32-true", 1e-9))
    weight = torch.full((1000,), 0.04, dtype=torch.bfloat16)
    assert torch.equal(weight - 2e-5, weight)


def test_options_of_ddp_are_named_since_they_have_no_effect(tmp_path: Path) -> None:
    target = "lightning.pytorch.strategies.DDPStrategy"
    for strategy in ("ddp_find_unused_parameters_true", {"_target_": target, "static_graph": True}):
        assert unused_options(strategy).startswith("DDP's options have no effect")
    sharded = composed("trainer=sharded", tmp_path=tmp_path)[1]["trainer"]["strategy"]
    assert not any(map(unused_options, ("auto", "ddp", sharded)))


def test_least_epochs_and_steps_beyond_the_schedule_are_refused(tmp_path: Path) -> None:
    class Data:
        def batch_count(self) -> int:
            return 5

    for words, refused in ((["min_epochs=2", "max_steps=7"], True), (["min_epochs=1", "max_steps=7"], False)):
        settings = check_settings(composed("logger=csv", *(f"trainer.{w}" for w in words), tmp_path=tmp_path)[1])
        data: Any = Data()
        if refused:
            with pytest.raises(UserError, match="ask for 10 steps, the schedule has 7"):
                count_steps(data, settings)
        else:
            assert count_steps(data, settings) == (5, 7)
