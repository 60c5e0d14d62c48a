"""GELU and the linear layer behind it, in pieces and computed again, give what they give as they are."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from transformers import AutoModelForQuestionAnswering

from helpers.training import config_of
from qa.model.fast.feed_forward import TOKENS, GeluLinear, join_gelu
from qa.model.fast.logits import FAMILIES


def test_output_and_gradients_are_those_of_both_layers() -> None:
    torch.manual_seed(0)
    layer = GeluLinear(12, 5, dtype=torch.float64)
    states = torch.randn(1, 2 * TOKENS + 3, 12, dtype=torch.float64, requires_grad=True)
    found, expected = layer(states), linear(gelu(states), layer.weight, layer.bias)
    torch.testing.assert_close(found, expected)
    over, weight = (states, layer.weight, layer.bias), torch.randn_like(found)

    def gradients(output: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, over, weight)

    torch.testing.assert_close(gradients(found), gradients(expected))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_layer_is_joined_and_an_evaluation_has_the_same_bits(family: str) -> None:
    torch.manual_seed(0)
    net = AutoModelForQuestionAnswering.from_config(config_of(family)).eval()
    ids, names = torch.randint(5, 99, (2, 20)), list(net.state_dict())
    with torch.no_grad():
        before = net(ids).start_logits
        join_gelu(net)
        assert torch.equal(net(ids).start_logits, before)
    assert sum(isinstance(part, GeluLinear) for part in net.modules()) == net.config.num_hidden_layers
    assert list(net.state_dict()) == names


def test_another_activation_stays() -> None:
    net: nn.Module = AutoModelForQuestionAnswering.from_config(config_of("bert", hidden_act="relu"))
    join_gelu(net)
    assert not any(isinstance(part, GeluLinear) for part in net.modules())
