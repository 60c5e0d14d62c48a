"""All gradients of a model in one tensor: CUDA graphs find them in their place, and ranks add them up at once."""

from collections.abc import Iterable

import torch
from torch import nn


class FlatGradients:
    """The gradients of the parameters that are trained, one after another in `flat`."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._places: list[int] = []
        self.zero_grad()

    def zero_grad(self) -> bool:
        """Sets all gradients to 0; returns whether other parameters are trained than before, or in other places."""
        trained = [parameter for parameter in self._parameters if parameter.requires_grad]
        places = [parameter.data_ptr() for parameter in trained]
        if moved := places != self._places:
            self._places, sizes = places, [parameter.numel() for parameter in trained]
            self.flat = torch.zeros(sum(sizes), dtype=trained[0].dtype, device=trained[0].device)
            parts = zip(self.flat.split(sizes), trained, strict=True)
            self._gradients = [part.view_as(parameter) for part, parameter in parts]
        self.flat.zero_()
        for parameter, gradient in zip(trained, self._gradients, strict=True):
            parameter.grad = gradient
        return moved
