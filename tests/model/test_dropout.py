"""Masks belong to windows: nothing but seed, step, place and window number decides on them."""

import numpy as np
import pytest
import torch
from torch import nn

from qa.model.fast.dropout import PackedWindows, WindowDropout, by_windows, draw_for

WIDTH = 64


def windows(rows: list[int], lengths: list[int], seed: int = 1, step: int = 2) -> PackedWindows:
    return PackedWindows(seed, step, np.array(rows), np.array(lengths))


def masks(which: PackedWindows, p: float = 0.1, place: int = 3) -> tuple[torch.Tensor, ...]:
    """What is left of ones, [tokens, width] of each window."""
    dropout = WindowDropout(p, place)
    dropout.windows = which
    left: torch.Tensor = dropout(torch.ones(1, int(which.lengths.sum()), WIDTH))[0]
    return tuple(torch.split(left, which.lengths.tolist()))


def test_a_windows_mask_does_not_depend_on_its_batch() -> None:
    together = masks(windows([5, 900, 7], [30, 9, 17]))
    assert torch.equal(masks(windows([900], [9]))[0], together[1])
    assert torch.equal(masks(windows([7, 5], [17, 30]))[1], together[0])


@pytest.mark.parametrize(("seed", "step", "place", "row"), [(8, 2, 3, 5), (1, 8, 3, 5), (1, 2, 8, 5), (1, 2, 3, 8)])
def test_another_seed_step_place_or_window_has_another_mask(seed: int, step: int, place: int, row: int) -> None:
    one, other = masks(windows([5], [30])), masks(windows([row], [30], seed, step), place=place)
    assert 0.1 < (one[0] != other[0]).float().mean() < 0.3  # 2 p (1 - p) = 0.18


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_the_share_that_is_dropped_is_p_and_the_mean_stays(p: float) -> None:
    mask = torch.cat(masks(windows(list(range(40)), [400] * 40), p))
    share = (mask == 0).float().mean().item()
    assert share == pytest.approx(round(256 * p) / 256, abs=2e-3)  # five standard errors of a million values
    assert mask.mean().item() == pytest.approx(1 if p < 1 else 0, abs=5e-3)
    columns = mask.mean(0)
    assert columns.std().item() < 1.3 * mask.std().item() / 16000**0.5 + 1e-9  # no column is dropped more often


def test_the_gradient_has_the_mask_of_the_output() -> None:
    dropout = WindowDropout(0.3, 0)
    dropout.windows = windows([4, 6], [5, 9])
    states = torch.randn(1, 14, WIDTH, requires_grad=True)
    dropped = dropout(states * 1)
    dropped.sum().backward()
    assert states.grad is not None
    torch.testing.assert_close(states.grad * states, dropped)


def test_a_models_dropouts_are_replaced_and_draw_apart() -> None:
    net = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1)))
    names = list(net.state_dict())
    by_windows(net)
    draw_for(net, windows([1], [50]))
    assert not any(type(part) is nn.Dropout for part in net.modules())
    assert list(net.state_dict()) == names
    first, second = (part for part in net.modules() if isinstance(part, WindowDropout))
    ones = torch.ones(1, 50, WIDTH)
    assert not torch.equal(first(ones.clone()), second(ones.clone()))
    assert torch.equal(first.eval()(ones.clone()), ones)
