"""Which batches run as CUDA graphs, and that steps with them are those without; a graph itself needs a GPU."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.training import batches
from qa.data.epochs.batches import TrainingBatch
from qa.model.fast import graphs
from qa.model.fast.graphs import WIDTH, Graphs
from qa.model.fast.unpadded import UNPADDED, unpadded_logits
from qa.model.loss import span_loss
from qa.model.pretrained import load_model


class Replayed:
    """Stands in for a graph: the same pass over the batch that was held when it was captured, with new content."""

    captured = 0

    def __init__(self, batch: TrainingBatch, compute: Any, pool: Any) -> None:
        Replayed.captured += 1
        self.shape, self.compute = batch["input_ids"].shape, compute

    def run(self, batch: TrainingBatch) -> Tensor:
        assert batch["input_ids"].shape == self.shape
        losses: Tensor = self.compute(batch)
        return losses


@pytest.fixture
def passes(exact: Path, small_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model without padding, its pass, and its training batches."""
    monkeypatch.setattr(graphs, "Graph", Replayed)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 1)
    Replayed.captured = 0
    model = load_model(str(exact)).model
    model.set_attn_implementation(UNPADDED)

    def compute(batch: TrainingBatch) -> Tensor:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        logits = unpadded_logits(model, inputs, batch["lengths"])
        losses = span_loss(*logits, batch["start_positions"], batch["end_positions"], batch["attention_mask"])
        (losses * batch["weight"]).sum().backward()
        return (losses * batch["weight"]).detach()

    return model, compute, batches(exact, small_files[0])


def gradients(model: torch.nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_a_shape_is_captured_when_it_comes_again_and_nothing_changes(passes: Any) -> None:
    model, compute, dataset = passes
    compiled = Graphs(compute, model.parameters())
    for step, first in enumerate((0, 10, 20)):
        batch = dataset[np.arange(first, first + 10)]
        model.zero_grad()
        losses, expected = compute(batch), gradients(model)
        model.zero_grad()
        compiled.zero_gradients()
        torch.testing.assert_close(compiled(batch), losses, atol=1e-6, rtol=1e-5)
        for one, other in zip(gradients(model), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert Replayed.captured == (step > 0)
    assert batch["input_ids"].shape[1] < WIDTH  # and was widened


def test_the_gradients_stay_where_a_graph_finds_them(passes: Any) -> None:
    """Also after a step that was skipped, which leaves parameters without gradients."""
    model, compute, dataset = passes
    compiled = Graphs(compute, model.parameters())
    compiled.zero_gradients()
    held = [parameter.grad for parameter in model.parameters()]
    compiled(dataset[np.arange(10)])
    model.zero_grad(set_to_none=True)
    compiled.zero_gradients()
    assert all(parameter.grad is there for parameter, there in zip(model.parameters(), held, strict=True))
    assert not any(gradient.any() for gradient in gradients(model))


def test_without_memory_for_graphs_the_steps_go_on(
    passes: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A capture that runs out of memory ends with another error, raised when torch ends the capture."""

    def full(*_: Any) -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    model, compute, dataset = passes
    monkeypatch.setattr(graphs, "Graph", full)
    compiled = Graphs(compute, model.parameters())
    with caplog.at_level(logging.WARNING, "qa"):
        for _ in range(4):
            compiled.zero_gradients()
            assert compiled(dataset[np.arange(10)]).isfinite().all()
    assert caplog.text.count("no memory for CUDA graphs") == 1


def test_another_error_of_a_capture_is_raised(passes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    model, compute, dataset = passes
    monkeypatch.setattr(graphs, "Graph", broken)
    compiled = Graphs(compute, model.parameters())
    compiled.zero_gradients()
    compiled(dataset[np.arange(10)])
    with pytest.raises(RuntimeError, match="illegal memory access"):
        compiled(dataset[np.arange(10)])
