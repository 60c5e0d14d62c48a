"""Attention on a CPU for training: window by window in the cache, and again in the backward pass.

Registered with transformers as the attention "windows". Between the passes it keeps query, key, value and its output,
where the usual way keeps matrices [heads, length, length] of each window, padding included.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from qa.model.fast.dropout import PackedWindows, WindowDropout

WINDOWS = "windows"
SCORES_AT_ONCE = 200_000  # scores: they, their mask and their gradients stay in the cache of a core


class How(NamedTuple):
    """The arguments of attention, beside query, key and value."""

    sizes: list[int]  # tokens of each window
    scale: float
    dropout: WindowDropout
    windows: PackedWindows | None  # the dropout draws their masks; None: it drops nothing


class _Attention(torch.autograd.Function):
    """Attention within windows, their tokens in a row: query, key, value [heads, tokens, size] → the same shape."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        out = _like(query)
        for (q, k, v, o), mask, (scores, _) in _pieces(how, query, key, value, out):
            weights = _weights(q, k, how.scale, scores)
            if mask is not None:
                weights.mul_(mask)
                v = v * how.dropout.scale
            o.copy_(torch.bmm(weights, v))
        ctx.how = how
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out = ctx.saved_tensors
        how: How = ctx.how
        gradients = [_like(query) for _ in range(3)]
        for (q, k, v, o, do, dq, dk, dv), mask, (scores, dscores) in _pieces(
            how, query, key, value, out, gradient, *gradients
        ):
            kept = weights = _weights(q, k, how.scale, scores)
            whole = (o * do).sum(2, keepdim=True)  # = sum(weights * dweights) of each row
            if mask is not None:
                do = do * how.dropout.scale
            dweights = torch.bmm(do, v.transpose(1, 2), out=dscores)
            if mask is not None:
                dweights.mul_(mask)
                kept = mask.mul_(weights)
            dv.copy_(torch.bmm(kept.transpose(1, 2), do))
            dweights.sub_(whole).mul_(weights)  # the softmax's backward pass: now the gradient of the scores
            dq.copy_(torch.bmm(dscores, k).mul_(how.scale))
            dk.copy_(torch.bmm(dscores.transpose(1, 2), q).mul_(how.scale))
        return (*gradients, None)


def _like(query: Tensor) -> Tensor:
    """An empty tensor, [heads, tokens, size], with a token's heads side by side, as the layers around have them."""
    heads, tokens, size = query.shape
    return query.new_empty(tokens, heads, size).transpose(0, 1)


def _weights(query: Tensor, key: Tensor, scale: float, out: Tensor) -> Tensor:
    """Softmax of the scores, [heads, tokens, tokens]."""
    torch.baddbmm(out, query, key.transpose(1, 2), beta=0, alpha=scale, out=out)
    return torch.softmax(out, -1, out=out)


def _pieces(how: How, *tensors: Tensor) -> Iterator[tuple[list[Tensor], Tensor | None, list[Tensor]]]:
    """Yields a window's heads, some at a time: of each tensor [heads, tokens, size], the mask of dropout, and room.

    The mask, [heads, tokens, tokens], is 1 where a weight is kept; the room is for two more matrices of this shape.
    """
    heads = len(tensors[0])
    longest = max(how.sizes)
    room = tensors[0].new_empty(3, min(heads * longest**2, max(SCORES_AT_ONCE, longest**2)))
    for number, window in enumerate(zip(*(tensor.split(how.sizes, 1) for tensor in tensors), strict=True)):
        tokens = how.sizes[number]
        drawn = how.dropout.drawn(how.windows, number, (heads, tokens, tokens)) if how.windows else None
        at_once = max(1, SCORES_AT_ONCE // tokens**2)
        for first in range(0, heads, at_once):
            part = slice(first, min(first + at_once, heads))
            shape = (3, part.stop - first, tokens, tokens)
            mask, *used = room[:, : shape[1] * tokens**2].view(shape)
            kept = None if drawn is None else torch.ge(drawn[part], how.dropout.below, out=mask)
            yield [tensor[part] for tensor in window], kept, used


def window_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention, as transformers calls it: query, key, value [1, heads, tokens, size] → [1, tokens, heads, size].

    Without the windows' bounds, which evaluations do not give, it is the usual attention.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling, **more)
    drops: Any = module.dropout
    sizes = [size for size in cu_seq_lens_q.diff().tolist() if size]
    how = How(sizes, scaling or query.shape[-1] ** -0.5, drops, drops.windows if dropout else None)
    dtype = torch.promote_types(query.dtype, torch.float32)  # bfloat16 has slower kernels
    states = (state[0].to(dtype) for state in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _Attention.apply(*states, how)  # type: ignore[no-untyped-call]
    return out.transpose(0, 1)[None], None


AttentionInterface.register(WINDOWS, window_attention)
AttentionMaskInterface.register(WINDOWS, sdpa_mask)
