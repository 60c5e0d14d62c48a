"""All gradients of a model in one tensor: CUDA graphs find them in their place, and ranks add them up at once."""

import torch
from torch import Tensor
from transformers import PreTrainedModel


class FlatGradients:
    """The gradients of the parameters that are trained, one after another in `flat`.

    `embedding`: that of the words, [tokens of the vocabulary, width], if it is trained; `others`: the rest, in one part
    or two.
    """

    embedding: Tensor | None
    others: list[Tensor]

    def __init__(self, model: PreTrainedModel) -> None:
        self._parameters = list(model.parameters())
        self._words = model.get_input_embeddings().weight
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
            self._part(trained, sizes)
        self.flat.zero_()
        for parameter, gradient in zip(trained, self._gradients, strict=True):
            parameter.grad = gradient
        return moved

    def _part(self, trained: list[torch.nn.Parameter], sizes: list[int]) -> None:
        """Finds the embedding's part."""
        self.embedding, self.others = None, [self.flat]
        for row, parameter in enumerate(trained):
            if parameter is self._words:
                begin = sum(sizes[:row])
                self.embedding = self._gradients[row]
                self.others = [part for part in (self.flat[:begin], self.flat[begin + sizes[row] :]) if len(part)]
