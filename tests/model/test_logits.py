"""Windows one after another give what they give padded, and none sees another."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedModel

from helpers.training import config_of
from qa.data.epochs.batches import Batch
from qa.model.fast.logits import FAMILIES, TOKENS_STEP, ByWindows, Padded, Unpadded, fastest_way, padded_tokens
from qa.model.pretrained import Attention

LENGTHS = np.array([9, 30, 17, 64])


def model(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = config_of(family, max_position_embeddings=80)
    made: PreTrainedModel = AutoModelForQuestionAnswering.from_config(config).eval()
    return made


def batch(model: PreTrainedModel, lengths: Any = LENGTHS) -> Any:
    mask = (torch.arange(64) < torch.from_numpy(lengths)[:, None]).long()
    ids = torch.randint(5, 99, mask.shape, generator=torch.Generator().manual_seed(1))
    token_ids, types = torch.where(mask == 1, ids, model.config.pad_token_id), (torch.arange(64) > 5).long() * mask
    return {"input_ids": token_ids, "attention_mask": mask, "token_type_ids": types, "lengths": lengths}


def logits(way: Padded, batch: Any) -> tuple[Tensor, Tensor]:
    return way.logits(batch, seed=1, step=2)


def inputs(model: PreTrainedModel) -> tuple[str, ...]:
    types = ("token_type_ids",) if getattr(model.config, "type_vocab_size", 0) > 1 else ()
    return "input_ids", "attention_mask", *types


def weighed(logits: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """A number that depends on all logits of tokens, and on no other."""
    return sum(((values * mask) * torch.arange(mask.numel()).view(mask.shape)).sum() for values in logits)  # type: ignore[return-value]


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("lengths", [LENGTHS, np.full(4, 64)], ids=["filled up", "whole"])
def test_logits_and_gradients_are_those_of_padded_windows(family: str, lengths: Any) -> None:
    net = model(family)
    windows = batch(net, lengths)
    mask = windows["attention_mask"]
    padded = logits(Padded(net, inputs(net)), windows)
    weighed(padded, mask).backward()
    expected = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    found = logits(Unpadded(net, inputs(net)), windows)
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
    way, windows = Unpadded(net, inputs(net)), batch(net)
    with torch.no_grad():
        before, _ = logits(way, windows)
        windows["input_ids"][1, :30] = 7
        after, _ = logits(way, windows)
    others = [0, 2, 3]
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[1], after[1])


def test_a_batch_is_filled_up_to_few_sizes() -> None:
    mask = torch.ones(1, TOKENS_STEP)
    for lengths, filled in (([TOKENS_STEP], 1), ([TOKENS_STEP, 1], 2)):
        assert padded_tokens(Batch(attention_mask=mask, lengths=np.array(lengths))) == filled * TOKENS_STEP


@pytest.mark.parametrize(("fewest", "width", "filled"), [(240, 128, 1), (240, 300, 2), (200, 300, 1)])
def test_a_rank_fills_up_to_the_fullest_as_long_as_the_filling_is_no_longer_than_a_window(
    fewest: int, width: int, filled: int
) -> None:
    """Attention computes no window beyond the longest."""
    mask, tokens = torch.ones(1, width), (fewest, TOKENS_STEP + 1)
    windows = Batch(attention_mask=mask, lengths=np.array([fewest]), rank_tokens=tokens)
    assert padded_tokens(windows) == filled * TOKENS_STEP


def test_a_saved_model_is_an_ordinary_one(tmp_path: Any) -> None:
    net = model("bert")
    way, windows = Unpadded(net, inputs(net)), batch(net)
    net.save_pretrained(tmp_path)
    assert "unpadded" not in (tmp_path / "config.json").read_text()
    again = Padded(AutoModelForQuestionAnswering.from_pretrained(tmp_path), inputs(net))
    with torch.no_grad():
        found, expected = logits(way, windows)[0], logits(again, windows)[0] * windows["attention_mask"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("device", "precision", "capability", "family", "expected"),
    [
        ("cuda", "bf16-mixed", (9, 0), "bert", Unpadded),
        ("cuda", "16-mixed", (8, 0), "roberta", Unpadded),
        ("cuda", "32-true", (9, 0), "bert", Padded),
        ("cuda", "bf16-mixed", (7, 5), "bert", Padded),
        ("cuda", "bf16-mixed", (9, 0), "mpnet", Padded),
        ("cpu", "32-true", (9, 0), "bert", ByWindows),
        ("cpu", "bf16-mixed", (9, 0), "bert", ByWindows),
        ("cpu", "bf16-true", (9, 0), "bert", Padded),
        ("cpu", "32-true", (9, 0), "mpnet", Padded),
    ],
)
def test_the_fastest_way_depends_on_device_precision_and_family_unless_an_attention_is_chosen(
    device: str,
    precision: str,
    capability: tuple[int, int],
    family: str,
    expected: type[Padded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    net = model(family)
    assert fastest_way(net, "auto", torch.device(device), precision) is expected
    chosen: tuple[Attention, ...] = "sdpa", "eager", "flash"
    assert {fastest_way(net, attention, torch.device(device), precision) for attention in chosen} == {Padded}
