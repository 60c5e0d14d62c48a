"""Attention window by window gives what the usual attention gives, and its dropout is a window's own."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForQuestionAnswering

import qa.model.fast.window_attention as attention
from helpers.training import config_of
from qa.model.fast.dropout import PackedWindows, WindowDropout
from qa.model.fast.logits import FAMILIES, ByWindows, Padded
from qa.model.fast.window_attention import window_attention
from qa.model.pretrained import set_dropout

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


def model(family: str, dropout: float = 0.1) -> tuple[Any, tuple[str, ...], Any]:
    """A model in train mode, its inputs, and a batch."""
    torch.manual_seed(0)
    config = config_of(family, max_position_embeddings=80)
    set_dropout(config, dropout)
    net = AutoModelForQuestionAnswering.from_config(config)
    mask = (torch.arange(40) < torch.from_numpy(LENGTHS)[:, None]).long()
    ids = torch.randint(5, 99, mask.shape, generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": torch.where(mask == 1, ids, net.config.pad_token_id), "attention_mask": mask}
    if getattr(net.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = (torch.arange(40) > 5).long() * mask
    return net.train(), tuple(inputs), {**inputs, "lengths": LENGTHS, "keys": ROWS}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_without_dropout_a_model_has_the_logits_and_gradients_of_the_usual_attention(family: str) -> None:
    net, inputs, batch = model(family, dropout=0.0)
    mask: Tensor = batch["attention_mask"]

    def weighed(logits: tuple[Tensor, Tensor]) -> Tensor:
        return sum((values * mask).square().sum() for values in logits)  # type: ignore[return-value]

    expected = Padded(net, inputs).logits(batch, 1, 2)
    weighed(expected).backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    way = ByWindows(net, inputs)
    found = way.logits(batch, 1, 2)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one * mask, atol=1e-5, rtol=1e-5)
    weighed(found).backward()
    for name, parameter in net.named_parameters():
        if name in gradients:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4)
    net.eval()
    assert all(torch.equal(one, other) for one, other in zip(way.logits(batch, 1, 2), expected, strict=True))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_with_dropout_a_windows_logits_do_not_depend_on_its_batch(family: str) -> None:
    net, inputs, batch = model(family)
    way = ByWindows(net, inputs)

    def starts(rows: slice, step: int = 2) -> Tensor:
        part: Any = {name: values[rows] for name, values in batch.items()}
        return way.logits(part, 1, step)[0]

    together = starts(slice(None))
    torch.testing.assert_close(starts(slice(1, 3)), together[1:3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(starts(slice(None), step=3), together, atol=1e-3)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_bfloat16_has_the_masks_of_float32(family: str) -> None:
    net, inputs, batch = model(family)
    way = ByWindows(net, inputs)
    expected, other = way.logits(batch, 1, 2)[0], way.logits(batch, 1, 3)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        starts = way.logits(batch, 1, 2)[0]
    assert (starts - expected).abs().mean() < 0.1 * (other - expected).abs().mean()
    starts.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_gradient_checkpointing_draws_the_same_masks_again() -> None:
    net, inputs, batch = model("bert")
    way = ByWindows(net, inputs)

    def gradients() -> list[Tensor]:
        net.zero_grad()
        way.logits(batch, 1, 2)[0].square().sum().backward()
        return [p.grad.clone() for p in net.parameters() if p.grad is not None]

    expected = gradients()
    net.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    assert all(torch.equal(one, other) for one, other in zip(gradients(), expected, strict=True))
