"""Ways to compute the logits of a batch: padded, as the model does it, or the same mathematics without the padding.

Registers the attention "unpadded" with transformers: torch's own flash kernel, in which no window sees another.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from qa.data.epochs.batches import Batch
from qa.internals import flash_attention
from qa.model.fast.dropout import PackedWindows, by_windows, draw_for
from qa.model.fast.feed_forward import join_gelu
from qa.model.fast.window_attention import WINDOWS
from qa.model.pretrained import Attention

UNPADDED = "unpadded"
TOKENS_STEP = 256  # tokens of a batch are rounded up to a multiple of it, so that batches have few shapes
# families with layers that all attend to everything but padding, and with positions that can be given
FAMILIES = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"}


class Padded:
    """As the model does it: all windows as long as the longest."""

    def __init__(self, model: PreTrainedModel, inputs: tuple[str, ...]) -> None:
        """`inputs`: the names of those that the model takes."""
        self.model, self.inputs = model, inputs

    def logits(self, batch: Batch, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Start and end logits, float [batch, length] each; `seed` and `step` seed dropout that belongs to windows."""
        inputs, config = self._inputs(batch), self.model.config
        mask = batch["attention_mask"]
        if mask.device.type != "cpu" and config._attn_implementation == "sdpa" and config.model_type in FAMILIES:
            # transformers would look whether anything is padded at all, and wait for the device
            inputs["attention_mask"] = mask[:, None, None, :].bool()
        output = self.model(**inputs)
        return output.start_logits, output.end_logits

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        return {name: batch[name] for name in self.inputs}  # type: ignore[literal-required]


class Unpadded(Padded):
    """Windows one after another, in half precision on GPUs; the tokens that fill a batch up are one more window."""

    def __init__(self, model: PreTrainedModel, inputs: tuple[str, ...]) -> None:
        super().__init__(model, inputs)
        model.set_attn_implementation(UNPADDED)

    def logits(self, batch: Batch, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """As `Padded.logits`, with 0 at the padding."""
        return _packed_logits(self.model, self._inputs(batch), padded_tokens(batch))


class ByWindows(Padded):
    """Windows one after another in training, on CPUs; the model's parameters keep their names."""

    def __init__(self, model: PreTrainedModel, inputs: tuple[str, ...]) -> None:
        super().__init__(model, inputs)
        model.set_attn_implementation(WINDOWS)
        by_windows(model)
        join_gelu(model)

    def logits(self, batch: Batch, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """As `Padded.logits`, with 0 at the padding in training."""
        if not self.model.training:
            return super().logits(batch, seed, step)
        draw_for(self.model, PackedWindows(seed, step, batch["keys"], batch["lengths"]))
        return _packed_logits(self.model, self._inputs(batch), int(batch["lengths"].sum()))


def fastest_way(model: PreTrainedModel, attention: Attention, device: torch.device, precision: str) -> type[Padded]:
    """The way for a model that was loaded with this `attention`, on a device, in Lightning's `precision`."""
    config = model.config
    if attention != "auto" or config.model_type not in FAMILIES:
        return Padded
    if device.type == "cpu" and precision in ("32-true", "bf16-mixed"):
        return ByWindows
    size, half = config.hidden_size // config.num_attention_heads, precision.startswith(("16", "bf16"))
    has_kernel = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return Unpadded if has_kernel and half and size <= 256 and size % 8 == 0 else Padded


def padded_tokens(batch: Batch) -> int:
    """Tokens of a batch of windows, rounded up; those of the fullest rank, if no rank's filling is too long for it."""
    own = int(batch["lengths"].sum())
    fewest, most = batch.get("rank_tokens", (own, own))
    whole, whole_own = (-(-tokens // TOKENS_STEP) * TOKENS_STEP for tokens in (most, own))
    return whole if whole - fewest <= longest_window(batch["attention_mask"]) else whole_own


def longest_window(mask: Tensor) -> int:
    """The most tokens that a window of a batch has, or the filling; `mask`: [batch, length]."""
    return max(mask.shape[1], TOKENS_STEP)


def _packed_logits(model: PreTrainedModel, inputs: dict[str, Tensor], tokens: int) -> tuple[Tensor, Tensor]:
    """Logits by an attention that takes windows one after another, filled up to `tokens`, which the host knows."""
    mask = inputs.pop("attention_mask")
    beyond = mask.numel()  # a place after the last window's
    places = pad(mask, (0, 0, 0, 1)).flatten().nonzero_static(size=tokens, fill_value=beyond).squeeze(1)  # [tokens]
    packed = {name: pad(values, (0, 0, 0, 1)).flatten()[places][None] for name, values in inputs.items()}
    embeddings: Any = next(part for name, part in model.named_modules() if name.endswith("position_embeddings"))
    first = 0 if embeddings.padding_idx is None else embeddings.padding_idx + 1  # RoBERTa's come after the padding's
    # [batch + 2]: the first token of each window, of the filling, and the end
    bounds = pad(pad(mask.sum(1).cumsum(0), (1, 0)), (0, 1), value=tokens).int()
    packed["position_ids"] = (places % mask.shape[1] + first)[None]
    output = model(**packed, cu_seq_lens_q=bounds, max_length_q=longest_window(mask))

    def padded(logits: Tensor) -> Tensor:
        return logits.new_zeros(beyond + 1).index_copy(0, places, logits[0])[:-1].view(mask.shape)

    return padded(output.start_logits), padded(output.end_logits)


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
