"""Windows one after another give what they give padded, and none sees another."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedModel

from helpers.training import config_of
from qa.model.fast.unpadded import FAMILIES, TOKENS_STEP, UNPADDED, fits, padded_tokens, unpadded_logits

LENGTHS = np.array([9, 30, 17, 64])


def model(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = config_of(family, max_position_embeddings=80)
    made: PreTrainedModel = AutoModelForQuestionAnswering.from_config(config).eval()
    return made


def batch(model: PreTrainedModel, lengths: Any = LENGTHS) -> dict[str, Tensor]:
    mask = (torch.arange(64) < torch.from_numpy(lengths)[:, None]).long()
    ids = torch.randint(5, 99, mask.shape, generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": torch.where(mask == 1, ids, model.config.pad_token_id), "attention_mask": mask}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = (torch.arange(64) > 5).long() * mask
    return inputs


def weighed(logits: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """A number that depends on all logits of tokens, and on no other."""
    return sum(((values * mask) * torch.arange(mask.numel()).view(mask.shape)).sum() for values in logits)  # type: ignore[return-value]


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("lengths", [LENGTHS, np.full(4, 64)], ids=["filled up", "whole"])
def test_logits_and_gradients_are_those_of_padded_windows(family: str, lengths: Any) -> None:
    net = model(family)
    inputs = batch(net, lengths)
    output = net(**inputs)
    padded = output.start_logits, output.end_logits
    mask = inputs["attention_mask"]
    weighed(padded, mask).backward()
    expected = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    net.set_attn_implementation(UNPADDED)
    found = unpadded_logits(net, inputs, lengths)
    for one, other in zip(padded, found, strict=True):
        torch.testing.assert_close(one * mask, other * mask, atol=1e-5, rtol=1e-4)
        assert not other[mask == 0].any()
    weighed(found, mask).backward()
    for name, parameter in net.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[name], atol=2e-3, rtol=1e-3)


def test_no_window_sees_another() -> None:
    net = model("bert")
    net.set_attn_implementation(UNPADDED)
    inputs = batch(net)
    with torch.no_grad():
        before, _ = unpadded_logits(net, inputs, LENGTHS)
        inputs["input_ids"][1, :30] = 7
        after, _ = unpadded_logits(net, inputs, LENGTHS)
    others = [0, 2, 3]
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[1], after[1])


def test_a_batch_is_filled_up_to_few_sizes() -> None:
    assert padded_tokens(np.array([TOKENS_STEP])) == TOKENS_STEP
    assert padded_tokens(np.array([TOKENS_STEP, 1])) == 2 * TOKENS_STEP


def test_a_saved_model_is_an_ordinary_one(tmp_path: Any) -> None:
    net = model("bert")
    net.set_attn_implementation(UNPADDED)
    net.save_pretrained(tmp_path)
    assert UNPADDED not in (tmp_path / "config.json").read_text()
    inputs = batch(net)
    again = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    with torch.no_grad():
        found, _ = unpadded_logits(net, inputs, LENGTHS)
        mask = inputs["attention_mask"]
        torch.testing.assert_close(again(**inputs).start_logits * mask, found * mask, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("device", "precision", "capability", "family", "expected"),
    [
        ("cuda", "bf16-mixed", (9, 0), "bert", True),
        ("cuda", "16-mixed", (8, 0), "roberta", True),
        ("cuda", "32-true", (9, 0), "bert", False),
        ("cuda", "bf16-mixed", (7, 5), "bert", False),
        ("cpu", "bf16-mixed", (9, 0), "bert", False),
        ("cuda", "bf16-mixed", (9, 0), "mpnet", False),
    ],
)
def test_where_the_kernel_runs(
    device: str,
    precision: str,
    capability: tuple[int, int],
    family: str,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert fits(model(family), torch.device(device), precision) is expected
