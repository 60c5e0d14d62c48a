"""The second half of a feed-forward layer, GELU and linear, without a matrix [tokens, intermediate size] of its own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from transformers.activations import GELUActivation

TOKENS = 512  # at once: their 1,536 or 3,072 values stay in the cache


class GeluLinear(nn.Linear):
    """A linear layer of the GELU of its input, which the backward pass computes again."""

    def forward(self, states: Tensor) -> Tensor:
        """Maps float [..., inputs] to [..., outputs]."""
        if not self.training or torch.is_autocast_enabled("cpu"):
            return linear(gelu(states), self.weight, self.bias)
        outputs: Tensor = _GeluLinear.apply(states.flatten(0, -2), self.weight, self.bias)  # type: ignore[no-untyped-call]
        return outputs.view(*states.shape[:-1], -1)


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(states, weight)
        out = states.new_empty(len(states), len(weight))
        for part, into in zip(states.split(TOKENS), out.split(TOKENS), strict=True):
            torch.addmm(bias, gelu(part), weight.t(), out=into)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, weight = ctx.saved_tensors
        dstates, dweight = torch.empty_like(states), torch.zeros_like(weight)
        for part, outer, into in zip(*(rows.split(TOKENS) for rows in (states, gradient, dstates)), strict=True):
            with torch.enable_grad():
                part = part.detach().requires_grad_()
                active = gelu(part)
            dweight.addmm_(outer.t(), active.detach())
            into.copy_(torch.autograd.grad(active, part, outer @ weight)[0])
        return dstates, dweight, gradient.sum(0)


def join_gelu(model: nn.Module) -> None:
    """Joins each activation of a model's layers, where it is GELU, with the linear layer behind it."""
    parts = dict(model.named_modules())
    for name, part in parts.items():
        head, _, last = name.rpartition(".")
        behind = {"intermediate_act_fn": f"{head.rpartition('.')[0]}.output.dense", "activation": f"{head}.lin2"}
        after = parts.get(behind.get(last, ""))
        if isinstance(part, GELUActivation) and type(after) is nn.Linear:
            setattr(parts[head], last, nn.Identity())
            after.__class__ = GeluLinear
