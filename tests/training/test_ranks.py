"""What two ranks do that one does not: as on GPUs, where each has one, and when one of them runs out of memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from helpers.paths import ROOT
from helpers.training import Small, train, trained
from qa.data.epochs.batches import Batch

Tensors = dict[str, torch.Tensor]

RANK = """
import os, sys, torch
from pathlib import Path
from test_ranks import scenarios
torch.save(scenarios(*map(Path, sys.argv[1:4])), sys.argv[4] + os.environ["RANK"])
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


class AsOnGpus(DDPStrategy):
    """DDP's way through a forward pass where each rank has a GPU."""

    def configure_ddp(self) -> None:
        super().configure_ddp()
        self.model.device_ids = [0]  # type: ignore[union-attr]


class Forget(lightning.Callback):
    """In the middle of a fit, what a process that goes on in another one's place does not know."""

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            module.micro_batches._carried.clear()


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

    for name in ("all_reduce", "broadcast", "barrier", "all_gather_object", "gather_object", "broadcast_object_list"):
        wrap(name)


def scenarios(exact: Path, tiny: Path, file: Path) -> dict[str, Any]:
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
    fit("as on GPUs", Small, tiny, strategy=AsOnGpus(), validated=True)
    for precision in ("32-true", "bf16-mixed"):
        fit(precision, Small, tiny, precision=precision)
        fit(f"{precision} going on", Small, tiny, precision=precision, callbacks=[Forget()])
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
        [*command, folder / "rank.py", exact, tiny, small_files[0], f"{folder}/"], cwd=ROOT, capture_output=True,
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


def test_the_way_of_gpus_through_ddp_gives_the_weights_of_the_other(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert same(rank["as on GPUs"][2], rank["whole"][2])
        assert rank["as on GPUs"][3] == rank["whole"][3] != {}


@pytest.mark.guarantee("A run resumed on two ranks ends at the same bits, also in bf16-mixed")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_process_that_does_not_know_what_was_carried_resumes_to_the_same_bits(
    precision: str, ranks: list[dict[str, Any]]
) -> None:
    for rank in ranks:
        assert same(rank[f"{precision} going on"][2], rank[precision][2])


def test_all_ranks_ask_for_the_same_collectives_in_the_same_order(ranks: list[dict[str, Any]]) -> None:
    calls, calls2 = (rank["calls"] for rank in ranks)
    assert calls == calls2
    step = calls.index(("all_reduce", "torch.int64", "cpu", (1,)))
    assert calls[step : step + 4] == 2 * [calls[step], ("all_reduce", "torch.float32", "cpu", ())]
