"""Steps whose figures the host reads late, as on a GPU: what they compute, log, save and report stays the same."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor

from helpers.training import ADAM, Small, a_history, train
from qa.errors import UserError
from qa.runs.metrics_csv import read_lines
from qa.tracking.metrics_file import MetricsFile
from qa.training.callbacks import Metrics
from qa.training.estimate import Estimate

FUSED = partial(torch.optim.Adam, lr=1e-3, fused=True)
PLAIN = partial(torch.optim.Adam, lr=1e-3, fused=False)
CLIPPED_TO_NOTHING = 0.5  # the norms here are above it
UNCLIPPED = 1e3


class Late(Small):
    late = frozenset({"cpu"})


class Weights(lightning.Callback):
    """The weights after each step, and the figures that are known by then."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.known: list[int] = []
        self.read = 0

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.steps.append({name: weight.clone() for name, weight in module.state_dict().items()})
        module.when_read(self.count)
        self.known.append(self.read)

    def count(self, _: Any) -> None:
        self.read += 1


def same(weights: dict[str, Tensor], weights2: dict[str, Tensor]) -> bool:
    return all(torch.equal(weight, weights2[name]) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("kind", "optimizer", "arguments", "known"),
    [
        (Late, FUSED, {}, [0, 1, 2, 3]),
        (Late, ADAM, {}, [0, 1, 2, 3]),
        (Late, partial(torch.optim.AdamW, lr=1e-3), {"gradient_clip_val": None}, [0, 1, 2, 3]),
        (Small, FUSED, {}, [1, 2, 3, 4]),
        (Late, PLAIN, {}, [1, 2, 3, 4]),
        (Late, partial(torch.optim.SGD, lr=1e-3, fused=True), {}, [1, 2, 3, 4]),
        (Late, FUSED, {"gradient_clip_algorithm": "value"}, [1, 2, 3, 4]),
    ],
)
def test_the_figures_of_a_step_are_read_after_its_end_where_the_optimizer_can_do_without(
    kind: type[Small], optimizer: Any, arguments: Any, known: list[int], exact: Path, small_files: tuple[Path, Path]
) -> None:
    weights = Weights()
    _, losses = train(kind, exact, small_files[0], optimizer=optimizer, callbacks=[weights], **arguments)
    assert (weights.known, weights.read, len(losses)) == (known, 4, 4)


@pytest.mark.parametrize(("most", "equal"), [(UNCLIPPED, True), (CLIPPED_TO_NOTHING, False)])
def test_a_step_that_is_read_late_is_the_same_step(
    most: float, equal: bool, tiny: Path, small_files: tuple[Path, Path]
) -> None:
    """With dropout. Equal to the bit where nothing is clipped; else the factor is rounded in another place."""
    early, losses = train(Small, tiny, small_files[0], gradient_clip_val=most)
    late, losses2 = train(Late, tiny, small_files[0], gradient_clip_val=most)
    assert same(early.state_dict(), late.state_dict()) == equal
    assert (losses == losses2) == equal
    for step, step2 in zip(losses, losses2, strict=True):
        assert step2 == pytest.approx(step, rel=1e-5)
    assert (early.loss_sum, early.loss_windows) == pytest.approx((late.loss_sum, late.loss_windows), rel=1e-6)


class Nan(Small):
    """The third of four steps is not finite."""

    def losses(self, logits: tuple[Tensor, Tensor], batch: Any) -> Tensor:
        losses = super().losses(logits, batch)
        return losses * torch.nan if self.training and self.trainer.global_step == 2 else losses


class LateNan(Nan, Late):
    pass


def test_a_step_that_is_not_finite_ends_the_run_with_the_weights_before_it(
    exact: Path, small_files: tuple[Path, Path]
) -> None:
    said, modules = [], []
    for kind in (Nan, LateNan):
        weights = Weights()
        noted = lightning.pytorch.callbacks.LambdaCallback(on_train_start=lambda _, module: modules.append(module))
        with pytest.raises(UserError, match=r"step 3: the loss is nan, the gradient norm nan, .* windows \(quest") as e:
            train(kind, exact, small_files[0], callbacks=[weights, noted])
        said.append(str(e.value))
        assert same(modules[-1].state_dict(), weights.steps[1])
    assert said[0] == said[1]
    assert "14 (" in said[0] and "23 (" in said[0]  # the windows of the third step


def test_a_step_that_is_not_finite_is_skipped_and_counted(exact: Path, small_files: tuple[Path, Path]) -> None:
    """Adam's own state, and its count of steps, are those of three steps."""
    settings: Any = {"nonfinite": "skip", "gradient_clip_val": UNCLIPPED}
    early, losses = train(Nan, exact, small_files[0], **settings)
    late, losses2 = train(LateNan, exact, small_files[0], **settings)
    assert (late.nonfinite_steps, late.loss_windows) == (early.nonfinite_steps, early.loss_windows) == (1, 30)
    assert same(early.state_dict(), late.state_dict())
    assert str(losses) == str(losses2)
    optimizer: Any = late.optimizers()
    assert {float(state["step"]) for state in optimizer.state.values()} == {3.0}


class Killed(lightning.Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            raise KeyboardInterrupt


def test_every_step_is_logged_once_and_a_checkpoint_knows_all_before_it(
    tiny: Path, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    """Killed in the third step, resumed from the second."""

    def run(folder: Path, **more: Any) -> Small:
        history = a_history(folder, steps_per_epoch=4)
        history.every_n_steps = 2
        callbacks = [Metrics(), Estimate(), *more.pop("callbacks", []), history]
        logger = MetricsFile(str(folder / "metrics.csv"))
        settings: Any = {"callbacks": callbacks, "logger": logger, "enable_checkpointing": True, "validated": True}
        return train(Late, tiny, small_files[0], **settings, **more)[0]

    whole, cut = (tmp_path / name for name in ("whole", "cut"))
    for folder in (whole, cut):
        folder.mkdir()
    expected = run(whole)
    with pytest.raises(SystemExit):
        run(cut, callbacks=[Killed()])
    last = cut / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    assert (checkpoint["global_step"], checkpoint["train_loss"][1]) == (2, 20)
    _, lines = read_lines(cut / "metrics.csv")
    assert [line["step"] for line in lines] == ["1", "2"]
    MetricsFile(str(cut / "metrics.csv")).forget_after(2, evaluated=True)
    resumed = run(cut, resume=last, done=2)
    assert same(expected.state_dict(), resumed.state_dict())
    (_, lines), (_, lines2) = (read_lines(folder / "metrics.csv") for folder in (whole, cut))
    for line, line2 in zip(lines, lines2, strict=True):
        assert (line["step"], line["loss"], line["val_loss"]) == (line2["step"], line2["loss"], line2["val_loss"])
    assert [line["step"] for line in lines] == ["1", "2", "3", "4", "4"]
