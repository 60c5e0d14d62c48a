"""Attention window by window gives what the usual attention gives, and its dropout is a window's own."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForQuestionAnswering

import qa.model.fast.window_attention as attention
from helpers.training import config_of
from qa.model.fast.dropout import PackedWindows, WindowDropout, by_windows, draw_for
from qa.model.fast.unpadded import FAMILIES, unpadded_logits
from qa.model.fast.window_attention import WINDOWS, compute_by_windows, fits_windows, window_attention

LENGTHS = np.array([9, 30, 17, 40])
ROWS = np.array([12, 5, 700, 3])


class Layer(torch.nn.Module):
    """What an attention layer is to its attention."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropout = WindowDropout(p, 7)
        self.dropout.windows = PackedWindows(1, 2, ROWS, LENGTHS)


def states(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value [1, heads, tokens, size] as layers give them: the heads of a token side by side."""
    torch.manual_seed(0)
    shape = 1, int(LENGTHS.sum()), 3, 4
    query, key, value = (torch.randn(shape, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3))
    return query, key, value


def bounds() -> Tensor:
    return torch.tensor([0, *LENGTHS.cumsum()])


def plain(layer: Layer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The formula, with the masks that the layer draws: → [1, tokens, heads, size]."""
    parts, windows = [], layer.dropout.windows
    assert windows is not None
    for number, (q, k, v) in enumerate(zip(*(s.split(LENGTHS.tolist(), 2) for s in (query, key, value)), strict=True)):
        weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3)
        kept = layer.dropout.drawn(windows, number, tuple(weights.shape[1:])) >= layer.dropout.below
        parts.append(weights * kept * layer.dropout.scale @ v)
    return torch.cat(parts, 2).transpose(1, 2)


@pytest.mark.parametrize("at_once", [attention.SCORES_AT_ONCE, 2000], ids=["whole windows", "some heads"])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_output_and_gradients_are_those_of_the_formula(p: float, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", at_once)
    layer, inputs = Layer(p), states()
    expected = plain(layer, *inputs)
    found, _ = window_attention(layer, *inputs, None, cu_seq_lens_q=bounds(), dropout=p)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True
    ):
        torch.testing.assert_close(one, other)


def batch(family: str) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    net = AutoModelForQuestionAnswering.from_config(config_of(family, max_position_embeddings=80))
    mask = (torch.arange(40) < torch.from_numpy(LENGTHS)[:, None]).long()
    ids = torch.randint(5, 99, mask.shape, generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": torch.where(mask == 1, ids, net.config.pad_token_id), "attention_mask": mask}
    if getattr(net.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = (torch.arange(40) > 5).long() * mask
    return net, inputs


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_without_dropout_a_model_has_the_logits_and_gradients_of_the_usual_attention(family: str) -> None:
    net, inputs = batch(family)
    mask = inputs["attention_mask"]

    def weighed(logits: tuple[Tensor, Tensor]) -> Tensor:
        return sum((values * mask).square().sum() for values in logits)  # type: ignore[return-value]

    output = net.eval()(**inputs)
    expected = output.start_logits, output.end_logits
    weighed(expected).backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    net.set_attn_implementation(WINDOWS)
    again = net(**inputs)  # as an evaluation does
    assert torch.equal(again.start_logits, output.start_logits)
    by_windows(net)
    found = unpadded_logits(net, inputs, LENGTHS, filled=False)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one * mask, atol=1e-5, rtol=1e-5)
    weighed(found).backward()
    for name, parameter in net.named_parameters():
        if name in gradients:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_with_dropout_a_windows_logits_do_not_depend_on_its_batch(family: str) -> None:
    net, inputs = batch(family)
    net.train().set_attn_implementation(WINDOWS)
    by_windows(net)

    def starts(rows: slice) -> Tensor:
        draw_for(net, PackedWindows(1, 2, ROWS[rows], LENGTHS[rows]))
        part = {name: values[rows] for name, values in inputs.items()}
        return unpadded_logits(net, part, LENGTHS[rows], filled=False)[0]

    together = starts(slice(None))
    torch.testing.assert_close(starts(slice(1, 3)), together[1:3], atol=1e-5, rtol=1e-5)
    draw_for(net, PackedWindows(1, 3, ROWS, LENGTHS))
    assert not torch.allclose(unpadded_logits(net, inputs, LENGTHS, filled=False)[0], together, atol=1e-3)


def test_gradient_checkpointing_draws_the_same_masks_again() -> None:
    net, inputs = batch("bert")
    net.train()
    compute_by_windows(net)
    draw_for(net, PackedWindows(1, 2, ROWS, LENGTHS))

    def gradients() -> list[Tensor]:
        net.zero_grad()
        unpadded_logits(net, inputs, LENGTHS, filled=False)[0].square().sum().backward()
        return [p.grad.clone() for p in net.parameters() if p.grad is not None]

    expected = gradients()
    net.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    assert all(torch.equal(one, other) for one, other in zip(gradients(), expected, strict=True))


@pytest.mark.parametrize(
    ("device", "precision", "family", "expected"),
    [
        ("cpu", "32-true", "bert", True),
        ("cpu", "bf16-mixed", "bert", False),
        ("cuda", "32-true", "bert", False),
        ("cpu", "32-true", "mpnet", False),
    ],
)
def test_where_windows_are_computed_so(device: str, precision: str, family: str, expected: bool) -> None:
    net = AutoModelForQuestionAnswering.from_config(config_of(family))
    assert fits_windows(net, torch.device(device), precision) is expected
