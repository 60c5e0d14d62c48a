"""Which batches run as CUDA graphs, and that steps with them are those without; a graph itself needs a GPU."""

import logging
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from helpers.training import Small, batches, train
from qa.data.epochs.batches import TrainingBatch
from qa.errors import UserError
from qa.model.fast import graphs
from qa.model.fast.gradients import FlatGradients
from qa.model.fast.graphs import WIDTH, Graphs
from qa.model.fast.logits import TOKENS_STEP, Unpadded, padded_tokens
from qa.model.loss import span_loss
from qa.model.pretrained import load_model


class Replayed:
    """Stands in for a graph: the same pass over the batch that was held when it was captured, with new content."""

    limit = 9999  # tokens for which there is memory
    broken = 0.0  # what a replay adds to the gradients
    captured: ClassVar[list[tuple[Any, Any]]] = []  # stream and pool of each capture

    def __init__(self, batch: TrainingBatch, compute: Any, stream: Any, pool: Any) -> None:
        self.captured.append((stream, pool))
        self.shape, self.compute = batch["input_ids"].shape, compute
        if padded_tokens(batch) > self.limit:
            raise RuntimeError("operation failed due to a previous error during capture")

    def run(self, batch: TrainingBatch) -> Tensor:
        assert batch["input_ids"].shape == self.shape
        losses: Tensor = self.compute(batch)
        module = getattr(self.compute, "__self__", None)
        if module is not None:
            module.model.qa_outputs.bias.grad += self.broken
        return losses


class Stream:
    def wait_stream(self, _: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a GPU."""
    for name in ("limit", "broken"):
        monkeypatch.setattr(Replayed, name, getattr(Replayed, name))
    Replayed.captured.clear()
    monkeypatch.setattr(graphs, "Graph", Replayed)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Stream)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


@pytest.fixture
def passes(exact: Path, small_files: tuple[Path, Path]) -> Any:
    """A model without padding, its pass, and its training batches."""
    model, inputs, _ = load_model(str(exact))
    way = Unpadded(model, inputs)

    def compute(batch: TrainingBatch) -> Tensor:
        logits = way.logits(batch, seed=1, step=2)
        losses = span_loss(*logits, batch["start_positions"], batch["end_positions"], batch["attention_mask"])
        (losses * batch["weight"]).sum().backward()
        return (losses * batch["weight"]).detach()

    return model, compute, batches(exact, small_files[0])


def new_graphs(model: PreTrainedModel, compute: Any) -> Graphs:
    return Graphs(compute, FlatGradients(model))


def step(compiled: Graphs, batch: TrainingBatch) -> bool:
    """Whether the batch was computed by a graph."""
    compiled.zero_grad()
    assert compiled(batch).isfinite().all()
    return compiled.replayed


def gradients(model: torch.nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_a_shape_is_captured_when_it_comes_again_and_nothing_changes(passes: Any) -> None:
    model, compute, dataset = passes
    compiled = new_graphs(model, compute)
    for number, first in enumerate((0, 10, 20)):
        batch = dataset[np.arange(first, first + 10)]
        model.zero_grad()
        losses, expected = compute(batch), gradients(model)
        model.zero_grad()
        compiled.zero_grad()
        torch.testing.assert_close(compiled(batch), losses, atol=1e-6, rtol=1e-5)
        for one, other in zip(gradients(model), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert len(Replayed.captured) == compiled.replayed == (number > 0)
    assert batch["input_ids"].shape[1] < WIDTH  # and was widened


def test_all_ranks_capture_at_the_same_steps(exact: Path, small_files: tuple[Path, Path], passes: Any) -> None:
    """Of the second half of the steps each batch is known; ranks have other tokens, and other windows of nine."""
    model, compute, _ = passes
    order = np.random.default_rng(3).permutation(40)
    rows = [order[first : first + count] for count in (10, 9, 8) for first in range(0, 30, 10)] * 2
    taken, tokens = [], []
    for rank in range(2):
        Replayed.captured.clear()
        compiled, dataset = new_graphs(model, compute), batches(exact, small_files[0], rank, 2)
        captures = []
        for some in rows:
            batch = dataset[some]
            expected = compute(batch)
            compiled.zero_grad()
            torch.testing.assert_close(compiled(batch), expected, atol=1e-5, rtol=1e-4)
            captures.append(len(Replayed.captured))
        taken.append(captures)
        tokens.append([-(-int(dataset[some]["lengths"].sum()) // TOKENS_STEP) for some in rows])
    assert tokens[0] != tokens[1]
    assert taken[0] == taken[1]
    assert len({*taken[0]}) > 2


def test_the_gradients_stay_where_a_graph_finds_them(passes: Any) -> None:
    """Also after a step that was skipped, which leaves parameters without gradients."""
    model, compute, dataset = passes
    compiled = new_graphs(model, compute)
    compiled.zero_grad()
    held = [parameter.grad for parameter in model.parameters()]
    compiled(dataset[np.arange(10)])
    model.zero_grad(set_to_none=True)
    compiled.zero_grad()
    assert all(parameter.grad is there for parameter, there in zip(model.parameters(), held, strict=True))
    assert not any(gradient.any() for gradient in gradients(model))


def test_a_capture_without_memory_gives_all_back_and_smaller_shapes_are_captured_later(
    passes: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, compute, dataset = passes
    monkeypatch.setattr(Replayed, "limit", 512)
    small, large = dataset[np.arange(3)], dataset[np.arange(20)]
    compiled = new_graphs(model, compute)
    with caplog.at_level(logging.WARNING, "qa"):
        assert [step(compiled, batch) for batch in (small, small, large, large, large)] == [False, True] + 3 * [False]
    assert caplog.text.count("no CUDA graphs for batches of") == 1
    assert len(Replayed.captured) == 2
    assert not compiled._graphs
    assert step(compiled, small)
    assert not step(compiled, large)
    first, failed, again = Replayed.captured
    assert first == failed
    assert not set(first) & set(again)


def test_an_error_of_the_device_itself_is_no_lack_of_graphs(passes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)

    model, compute, dataset = passes
    compiled = new_graphs(model, compute)
    step(compiled, dataset[np.arange(10)])
    monkeypatch.setattr(Replayed, "limit", 0)
    monkeypatch.setattr(torch.cuda, "synchronize", failed)
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        step(compiled, dataset[np.arange(10)])


@pytest.mark.parametrize("change", ["moved", "frozen"])
def test_graphs_of_parameters_that_are_others_now_are_dropped(change: str, passes: Any) -> None:
    """As after a callback that swaps averaged weights in, or one that trains more layers later."""
    model, compute, dataset = passes
    weight = model.qa_outputs.weight
    weight.requires_grad = change != "frozen"
    compiled, batch = new_graphs(model, compute), dataset[np.arange(10)]
    assert [step(compiled, batch) for _ in range(3)] == [False, True, True]
    weight.data = weight.data.clone()
    weight.requires_grad = True
    assert step(compiled, batch)
    assert len(Replayed.captured) == 2
    assert weight.grad.any()
    before = gradients(model)
    step(compiled, batch)
    assert all(torch.equal(one, other) for one, other in zip(gradients(model), before, strict=True))


class Compiled(Small):
    """By graphs where there is no GPU."""

    def why_no_graphs(self, _: Any) -> str:
        return ""


def test_two_fits_in_one_process_share_neither_stream_nor_pool(
    exact: Path, small_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first one has is gone before the second one begins, without the garbage collector."""
    born: list[Any] = []
    monkeypatch.setattr(Graphs, "__init__", noted(born))
    modules = []
    for _ in range(2):
        module, _ = train(Compiled, exact, small_files[0])
        modules.append(module)
        assert born[-1]() is None
        assert len({*Replayed.captured}) == len(modules)
    (stream, pool), (stream2, pool2) = dict.fromkeys(Replayed.captured)
    assert stream is not stream2 and pool is not pool2


def noted(born: list[Any]) -> Any:
    """`Graphs.__init__`, which also notes a weak reference to each."""
    init = Graphs.__init__

    def begin(self: Graphs, *arguments: Any) -> None:
        born.append(weakref.ref(self))
        init(self, *arguments)

    return begin


class Late(Compiled):
    """As on a GPU: the figures of a step are read when the next one begins."""

    late = frozenset({"cpu"})


@pytest.mark.parametrize("kind", [Compiled, Late])
def test_a_replay_that_is_not_finite_is_computed_again_kernel_by_kernel(
    kind: type[Small],
    exact: Path,
    small_files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, expected = train(kind, exact, small_files[0])
    monkeypatch.setattr(Replayed, "broken", float("nan"))
    with caplog.at_level(logging.WARNING, "qa"):
        module, losses = train(kind, exact, small_files[0])
    for step, step2 in zip(expected, losses, strict=True):
        assert step2 == pytest.approx(step, rel=1e-5)
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(weight, whole.state_dict()[name], atol=2e-5, rtol=0)
    assert module.nonfinite_steps == 0
    assert "step 4: not finite as CUDA graphs (gradients of model.qa_outputs.bias), but kernel by kernel" in caplog.text


class Nan(Compiled):
    """Gradients of the head are not finite from the third step on, by graphs or not."""

    def losses(self, logits: tuple[Tensor, Tensor], batch: Any) -> Tensor:
        losses = super().losses(logits, batch)
        head: Any = self.model.qa_outputs
        if self._step == 2:
            losses = losses + (head.bias * 0).sum().sqrt()  # whose derivative at 0 is infinite
        return losses


class LateNan(Nan, Late):
    pass


@pytest.mark.parametrize("kind", [Nan, LateNan])
@pytest.mark.parametrize("way", ["by CUDA graphs and again kernel by kernel", "kernel by kernel"])
def test_gradients_that_are_not_finite_are_named_with_the_way_they_were_computed(
    way: str, kind: type[Small], exact: Path, small_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "kernel by kernel":
        monkeypatch.setattr(Replayed, "limit", 0)
    problem = rf"the gradient norm nan, .*, gradients of model\.qa_outputs\.bias, computed {way}; lower optimizer.lr"
    with pytest.raises(UserError, match=problem):
        train(kind, exact, small_files[0])
    module, losses = train(kind, exact, small_files[0], nonfinite="skip")
    assert (module.nonfinite_steps, len(losses)) == (1, 4)
