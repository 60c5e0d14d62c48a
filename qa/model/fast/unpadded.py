"""A batch's windows one after another, without padding: flash attention in which no window sees another.

Registered with transformers as the attention "unpadded". The kernel is torch's own, for half precision on GPUs.
"""

from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from qa.internals import flash_attention

UNPADDED = "unpadded"
TOKENS_STEP = 256  # tokens of a batch are rounded up to a multiple of it, so that batches have few shapes
# families with layers that all attend to everything but padding, and with positions that can be given
FAMILIES = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"}


def fits(model: PreTrainedModel, device: torch.device, precision: str) -> bool:
    """Whether the kernel takes this model's heads, on this device, in Lightning's `precision`."""
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    half = precision.startswith(("16", "bf16"))
    return (
        device.type == "cuda"
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and half
        and size <= 256
        and size % 8 == 0
        and config.model_type in FAMILIES
    )


def padded_tokens(lengths: NDArray[Any]) -> int:
    """Tokens of a batch of windows, rounded up."""
    return -(-int(lengths.sum()) // TOKENS_STEP) * TOKENS_STEP


def unpadded_logits(
    model: PreTrainedModel, inputs: dict[str, Tensor], lengths: NDArray[Any], filled: bool = True
) -> tuple[Tensor, Tensor]:
    """Start and end logits, float [batch, length] each, 0 at the padding, of a model with an attention of windows.

    `inputs`: int64 [batch, length] each, the attention mask among them, padded at the end; `lengths`: [batch], tokens
    of each window, known to the host, which so need not wait for the device. The tokens that fill the batch up, where
    it is `filled`, are a window of their own, without logits in the result.
    """
    mask, tokens = inputs["attention_mask"], padded_tokens(lengths) if filled else int(lengths.sum())
    beyond = mask.numel()  # a place after the last window's
    places = pad(mask, (0, 0, 0, 1)).flatten().nonzero_static(size=tokens, fill_value=beyond).squeeze(1)  # [tokens]
    packed = {
        name: pad(values, (0, 0, 0, 1)).flatten()[places][None]
        for name, values in inputs.items()
        if name != "attention_mask"
    }
    # [batch + 2]: the first token of each window, of the filling, and the end
    bounds = pad(pad(mask.sum(1).cumsum(0), (1, 0)), (0, 1), value=tokens).int()
    longest = max(mask.shape[1], TOKENS_STEP)
    output = model(
        **packed, position_ids=(places % mask.shape[1] + first_position(model))[None],
        cu_seq_lens_q=bounds, cu_seq_lens_k=bounds, max_length_q=longest, max_length_k=longest,
    )  # fmt: skip

    def padded(logits: Tensor) -> Tensor:
        return logits.new_zeros(beyond + 1).index_copy(0, places, logits[0])[:-1].view(mask.shape)

    return padded(output.start_logits), padded(output.end_logits)


def first_position(model: PreTrainedModel) -> int:
    """The position of a window's first token; RoBERTa's come after that of the padding."""
    embeddings = next(part for name, part in model.named_modules() if name.endswith("position_embeddings"))
    padding = cast(nn.Embedding, embeddings).padding_idx
    return 0 if padding is None else padding + 1


def _attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention, as transformers calls it: query, key, value [1, heads, tokens, size] → [1, tokens, heads, size]."""
    if query.device.type == "cuda":
        q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
        return flash_attention(q, k, v, cu_seq_lens_q, max_length_q, dropout, scaling)[None], None
    sizes = cu_seq_lens_q.diff().tolist()
    windows = zip(*(states.split(sizes, 1) for states in (query[0], key[0], value[0])), strict=True)
    parts = [scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling) for q, k, v in windows]
    return torch.cat(parts, 1).transpose(0, 1)[None], None


AttentionInterface.register(UNPADDED, _attention)
