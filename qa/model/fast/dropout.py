"""Dropout with masks that belong to windows: the same on any number of devices, in any batch, after any restart."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class PackedWindows(NamedTuple):
    """The windows under way, their tokens one after another, with the seed and the step of their masks."""

    seed: int
    step: int
    keys: NDArray[Any]  # [windows]: a number of each, which no other window and no copy in the same step has
    lengths: NDArray[Any]  # [windows]: their tokens


class WindowDropout(nn.Module):
    """`nn.Dropout` with a mask that is a function of (seed, step, place, key of the window).

    A value is dropped where a random byte is below 256 p, rounded: p in steps of 1/256, as flash attention has it. What
    is kept is divided by the probability with which it is kept, so that the mean stays: 230 / 256 for p = 0.1.
    """

    def __init__(self, p: float, place: int) -> None:
        """`place`: a number that no other dropout of the model has."""
        super().__init__()
        self.p, self.place, self.below = p, place, round(256 * p)
        self.scale = 256 / (256 - self.below) if self.below < 256 else 0.0
        self.windows: PackedWindows | None = None

    def drawn(self, windows: PackedWindows, number: int, shape: tuple[int, ...]) -> Tensor:
        """The random bytes of the window at `number`, uint8 of this shape; what is `below` is dropped."""
        bits = np.random.SFC64((windows.seed, windows.step, self.place, int(windows.keys[number])))
        count = math.prod(shape)
        return torch.from_numpy(bits.random_raw(math.ceil(count / 8)).view(np.uint8)[:count]).view(shape)

    def forward(self, states: Tensor) -> Tensor:
        """Drops values of the states, float [1, tokens, width], in place."""
        if not self.training or not self.below:
            return states
        assert self.windows is not None, "draw_for comes first"
        dropped: Tensor = _Drop.apply(states, self, self.windows)  # type: ignore[no-untyped-call]
        return dropped


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, dropout: WindowDropout, windows: PackedWindows) -> Tensor:
        ctx.dropout, ctx.windows = dropout, windows
        ctx.mark_dirty(states)
        return _masked(states, states, dropout, windows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _masked(gradient, torch.empty_like(gradient), ctx.dropout, ctx.windows), None, None


def _masked(states: Tensor, out: Tensor, dropout: WindowDropout, windows: PackedWindows) -> Tensor:
    """Masks one window after another, while its mask is in the cache."""
    width = states.shape[-1]
    buffer = states.new_empty(int(windows.lengths.max()) * width)
    sizes = windows.lengths.tolist()
    for number, (part, into) in enumerate(zip(states[0].split(sizes), out[0].split(sizes), strict=True)):
        drawn = dropout.drawn(windows, number, part.shape)
        kept = torch.ge(drawn, dropout.below, out=buffer[: part.numel()].view(part.shape))
        torch.mul(part, kept.mul_(dropout.scale), out=into)
    return out


def by_windows(model: nn.Module) -> None:
    """Puts a `WindowDropout` in the place of each dropout of a model."""
    children = [(parent, name) for parent in model.modules() for name, _ in parent.named_children()]
    dropouts = [(parent, name) for parent, name in children if type(getattr(parent, name)) is nn.Dropout]
    for place, (parent, name) in enumerate(dropouts):
        setattr(parent, name, WindowDropout(getattr(parent, name).p, place).train(parent.training))


def draw_for(model: nn.Module, windows: PackedWindows) -> None:
    """Makes the model's dropouts draw for these windows from now on."""
    for part in model.modules():
        if isinstance(part, WindowDropout):
            part.windows = windows
