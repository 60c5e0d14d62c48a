"""What two ranks do that one does not: as on GPUs, where each has one, and when one of them runs out of memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from helpers.paths import ROOT
from helpers.training import Small, train, trained
from qa.data.epochs.batches import Batch
from qa.internals import loop_state

Tensors = dict[str, torch.Tensor]

RANK = """
import os, sys, torch
from pathlib import Path
from test_ranks import scenarios
torch.save(scenarios(*map(Path, sys.argv[1:5])), Path(sys.argv[4]) / os.environ["RANK"])
"""


class Backward(Small):
    """Rank 1 runs out of memory in its backward pass, of any part of more than `room` windows, after `fine` steps."""

    fine = 0

    def losses(self, logits: tuple[torch.Tensor, torch.Tensor], batch: Batch) -> torch.Tensor:
        losses = super().losses(logits, batch)
        if self.training and self.global_rank == 1 and len(losses) > 3 and self.trainer.global_step >= self.fine:
            losses.register_hook(self.out_of_memory)
        return losses

    def out_of_memory(self, gradient: torch.Tensor) -> None:
        raise torch.OutOfMemoryError


class Late(Backward):
    """The first step fits: Adam takes its memory after it."""

    fine = 1


class StandIn(Small):
    """What has no weight is not finite."""

    def losses(self, logits: tuple[torch.Tensor, torch.Tensor], batch: Batch) -> torch.Tensor:
        losses = super().losses(logits, batch)
        return losses if not self.training or batch["weight"] else losses * torch.nan  # type: ignore[typeddict-item]


class Apart(Small):
    """Each rank begins with weights of its own."""

    def configure_model(self) -> None:
        super().configure_model()
        for parameter in self.parameters():
            parameter.data.add_(0.01 * self.global_rank)


class Saved(lightning.Callback):
    """Saves a checkpoint after the second of four steps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["loops"]["fit_loop"].update(loop_state(trainer.global_step, 4))


def recorded(calls: list[tuple[Any, ...]]) -> None:
    """Has torch.distributed note each collective: its name, and what kind of tensor."""

    def wrap(name: str) -> None:
        function = getattr(torch.distributed, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            first = arguments[0] if arguments and isinstance(arguments[0], torch.Tensor) else None
            what = () if first is None else (str(first.dtype), first.device.type, tuple(first.shape))
            calls.append((name, *what))
            return function(*arguments, **named)

        setattr(torch.distributed, name, wrapped)

    objects = ("all_gather_object", "gather_object", "broadcast_object_list")
    for name in ("all_reduce", "all_gather_single", "broadcast", "barrier", *objects):
        wrap(name)


def scenarios(exact: Path, tiny: Path, file: Path, folder: Path) -> dict[str, Any]:
    """What one of two ranks finds in each; `exact` and `tiny` are models without and with dropout."""
    found: dict[str, Any] = {}

    def fit(name: str, kind: type[Small], model: Path, **arguments: Any) -> None:
        torch.manual_seed(0)
        module, losses = train(kind, model, file, devices=2, **arguments)
        weights = {key: weight.clone() for key, weight in module.state_dict().items()}
        found[name] = losses, module.micro_batches._fitting, weights, module.figures

    fit("backward", Backward, exact)
    fit("late", Late, exact)
    fit("whole", Small, tiny, validated=True)
    fit("apart", Apart, tiny)
    fit("stand-in", StandIn, exact, windows=9, size=4)
    for precision in ("32-true", "bf16-mixed"):
        half = folder / f"{precision}.ckpt"
        fit(precision, Small, tiny, precision=precision, callbacks=[Saved(half)])
        fit(f"{precision} resumed", Small, tiny, precision=precision, resume=half, done=2)
    calls: list[tuple[Any, ...]] = []
    recorded(calls)
    fit("recorded", Small, tiny, validated=True)
    return {**found, "calls": calls}


@pytest.fixture(scope="module")
def ranks(
    exact: Path, tiny: Path, small_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    (folder / "rank.py").write_text(RANK)
    path = f"{ROOT}:{ROOT}/tests:{Path(__file__).parent}"
    done = subprocess.run(
        [*command, folder / "rank.py", exact, tiny, small_files[0], folder], cwd=ROOT, capture_output=True,
        text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / rank) for rank in "01"]


def same(weights: Tensors, weights2: Tensors) -> bool:
    return all(torch.equal(weight, weights2[name]) for name, weight in weights.items())


@pytest.mark.guarantee(
    "Out of memory, also on one rank only: all ranks halve the batch and have the losses of the whole one"
)
@pytest.mark.parametrize("when", ["backward", "late"])
def test_one_rank_out_of_memory_in_its_backward_pass_and_both_halve(
    when: str, ranks: list[dict[str, Any]], exact: Path, small_files: tuple[Path, Path]
) -> None:
    """Room for 3 windows of the 5 of a rank's share: the other rank would wait for gradients for ever."""
    (losses, found, weights, _), (losses2, found2, weights2, _) = (rank[when] for rank in ranks)
    assert losses == losses2
    assert found == found2
    assert set(found.values()) == {3}
    assert same(weights, weights2)
    whole, _ = trained(exact, small_files, room=99)
    for step, step2 in zip(whole, losses, strict=True):
        assert step2 == pytest.approx(step, abs=1e-4)


def test_ranks_that_begin_apart_train_the_weights_of_the_first(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert same(rank["apart"][2], rank["whole"][2])


def test_a_stand_in_for_a_missing_part_has_no_say(
    ranks: list[dict[str, Any]], exact: Path, small_files: tuple[Path, Path]
) -> None:
    """4 windows at a time: of 9 the second rank has none for its second part."""
    _, losses = train(Small, exact, small_files[0], windows=9)
    for rank in ranks:
        for step, step2 in zip(losses, rank["stand-in"][0], strict=True):
            assert step2 == pytest.approx(step, abs=1e-4)


@pytest.mark.guarantee("A run resumed on two ranks ends at the same bits, also in bf16-mixed")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_process_that_goes_on_in_anothers_place_ends_at_the_same_bits(
    precision: str, ranks: list[dict[str, Any]]
) -> None:
    for rank in ranks:
        assert rank[f"{precision} resumed"][0] == rank[precision][0][2:]
        assert same(rank[f"{precision} resumed"][2], rank[precision][2])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_two_ranks_draw_the_dropout_of_one(
    precision: str, ranks: list[dict[str, Any]], tiny: Path, small_files: tuple[Path, Path]
) -> None:
    torch.manual_seed(0)
    _, losses = train(Small, tiny, small_files[0], precision=precision)
    for rank in ranks:
        for step, step2 in zip(losses, rank[precision][0], strict=True):
            assert step2 == pytest.approx(step, abs=1e-4)


def test_all_ranks_ask_for_the_same_collectives_in_the_same_order(ranks: list[dict[str, Any]]) -> None:
    calls, calls2 = (rank["calls"] for rank in ranks)
    assert calls == calls2
    step = calls.index(("all_reduce", "torch.int64", "cpu", (1,)))
    weights = ranks[0]["recorded"][2]
    words = next(weight for name, weight in weights.items() if "word_embeddings" in name)
    others = sum(weight.numel() for weight in weights.values()) - words.numel()
    exchange = [("all_reduce", "torch.float32", "cpu", shape) for shape in ((), (others,))]
    for first in (step, step + 5):
        assert calls[first : first + 3] == [calls[step], *exchange]
        (_, *of_rows), (_, *of_values) = calls[first + 3 : first + 5]  # of the words' embedding rows alone
        assert of_rows == ["torch.int64", "cpu", of_rows[2]]
        assert of_values == ["torch.float32", "cpu", (*of_rows[2], words.shape[1])]
        assert of_rows[2][0] < len(words) / 10
