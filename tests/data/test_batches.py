"""Which windows go together: each once, the same for the same seed and epoch, little padding."""

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from helpers.questions import squad
from qa.data.epochs.batch_order import (
    Batching,
    batches_of_rank,
    copies,
    drawn_windows,
    epoch_batches,
    ordered_batches,
    padded_share,
)
from qa.data.epochs.batches import EpochSampler, EvaluationBatches, TrainingBatches
from qa.data.example import Example
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.labels import training_labels
from qa.data.windows.tokenizer import pair_template

LENGTHS = np.random.default_rng(0).gamma(6, 30, 5000).astype(np.int32) + 10
BATCHINGS = st.sampled_from(["bucketed", "random"])


@given(st.integers(1, 700), st.integers(1, 40), BATCHINGS, st.integers(0, 99), st.integers(0, 9))
def test_every_window_comes_once_in_batches_of_the_wanted_size(
    count: int, batch_size: int, batching: Batching, seed: int, epoch: int
) -> None:
    batches = epoch_batches(LENGTHS[:count], batch_size, batching, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-count // batch_size)


@pytest.mark.parametrize("batching", ["bucketed", "random"])
def test_batches_depend_on_seed_and_epoch_alone(batching: Batching) -> None:
    def flat(seed: int, epoch: int) -> list[int]:
        return [int(row) for row in np.concatenate(epoch_batches(LENGTHS, 16, batching, seed, epoch))]

    assert flat(1, 2) == flat(1, 2)
    assert flat(1, 2) != flat(1, 3)
    assert flat(1, 2) != flat(2, 2)


def test_windows_that_come_once_have_the_order_that_runs_on_disk_resume_with() -> None:
    kinds: tuple[Batching, ...] = ("bucketed", "random")
    counts = itertools.product(kinds, (1, 15, 16, 700, 5000), (0, 3))
    batches = (batch for kind, count, epoch in counts for batch in epoch_batches(LENGTHS[:count], 16, kind, 42, epoch))
    digest = hashlib.sha256(b"".join(batch.astype("<i8").tobytes() for batch in batches)).hexdigest()
    assert digest == "528b23646b9c4265cb989245c4689c97443382099d4a417b2e64a7773cc7520e"


@pytest.mark.parametrize(
    ("windows", "times", "once"), [(100, 3, 0), (170, 3, 0), (400, 3, 0), (50, 3, 500), (9, 40, 0)]
)
@pytest.mark.parametrize("batching", ["bucketed", "random"])
def test_copies_of_a_window_meet_no_more_often_than_by_chance(
    windows: int, times: int, once: int, batching: Batching
) -> None:
    rows = np.sort(np.concatenate([np.repeat(np.arange(windows), times), np.arange(windows, windows + once)]))
    plans = [epoch_batches(LENGTHS[rows], 16, batching, 42, epoch, copies(rows)) for epoch in range(6)]
    assert all(sorted(np.concatenate(batches).tolist()) == list(range(len(rows))) for batches in plans)
    drawn = np.random.default_rng(0)
    by_chance = [len({*drawn.choice(rows, 16, replace=False).tolist()}) for _ in range(300)]
    distinct = [len({*rows[batch].tolist()}) for batches in plans for batch in batches if len(batch) == 16]
    assert np.mean(distinct) >= np.mean(by_chance) - 0.05


def test_copies_of_a_window_in_one_batch_have_keys_of_their_own_on_any_number_of_ranks(
    minilm: PreTrainedTokenizerFast,
) -> None:
    examples = [Example(id=str(row), question="who ?", context="one " * (row + 3)) for row in range(5)]
    windows = build_windows(examples, minilm, 64, 8)
    rows, labels = np.array([3, 1, 3, 0, 3, 1]), training_labels(windows, examples, "first")

    def keys(ranks: int) -> list[tuple[int, int]]:
        template = pair_template(minilm)
        parts = [TrainingBatches(windows, examples, template, labels, rank, ranks)[rows] for rank in range(ranks)]
        taken = [part for part in parts if part["weight"]]
        return sorted(
            (int(key), int(row)) for part in taken for key, row in zip(part["keys"], part["rows"], strict=True)
        )

    assert keys(1) == keys(2) == keys(4) == keys(9) == [(0, 0), (1, 1), (3, 3), (6, 1), (8, 3), (13, 3)]


def test_bucketed_batches_pad_little_and_come_in_no_order_of_length() -> None:
    bucketed = epoch_batches(LENGTHS, 16, "bucketed", 42, 0)
    assert padded_share(LENGTHS, bucketed) < 0.05
    assert padded_share(LENGTHS, epoch_batches(LENGTHS, 16, "random", 42, 0)) > 0.3
    longest = [int(LENGTHS[batch].max()) for batch in bucketed]
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.2


def test_padded_share_is_the_padding_of_the_tensors(minilm: PreTrainedTokenizerFast) -> None:
    examples = [Example(id=str(n), question="who ?", context="one " * n) for n in (3, 9, 30)]
    windows = build_windows(examples, minilm, 64, 8)
    mask = EvaluationBatches(windows, examples, pair_template(minilm))[np.arange(3)]["attention_mask"]
    assert padded_share(windows.lengths(), [np.arange(3)]) == pytest.approx(1 - mask.float().mean().item())


def test_the_sampler_follows_the_trainers_epoch() -> None:
    sampler = EpochSampler(lambda epoch: epoch_batches(LENGTHS, 16, "bucketed", 42, epoch), 313, 0, 0)
    sampler.set_epoch(3)
    assert [b.tolist() for b in sampler] == [b.tolist() for b in epoch_batches(LENGTHS, 16, "bucketed", 42, 3)]
    assert len(sampler) == len(list(sampler)) == 313


def test_1024_ranks_take_every_window_once_and_their_tokens_even_out(minilm: PreTrainedTokenizerFast) -> None:
    """In a full step ranks differ by no more tokens than its windows do; in the last one many have a stand-in."""
    ranks, full = 1024, 2
    sizes = np.tile(LENGTHS, 2)[: full * 4 * ranks + 500].clip(max=370)
    examples = [Example(id=str(row), question="who ?", context="one " * size) for row, size in enumerate(sizes)]
    windows = build_windows(examples, minilm, 384, 8)
    batches = epoch_batches(windows.lengths(), 4 * ranks, "bucketed", 42, 100)
    tokens, weight = np.zeros((len(batches), ranks)), np.zeros(len(batches))
    taken: list[int] = []
    labels = training_labels(windows, examples, "first")
    for rank in range(ranks):
        dataset = TrainingBatches(windows, examples, pair_template(minilm), labels, rank, ranks)
        for step, rows in enumerate(batches):
            batch = dataset[rows]
            tokens[step, rank] = batch["attention_mask"].sum()
            weight[step] += batch["weight"] * len(batch["rows"])
            taken += batch["rows"].tolist() if batch["weight"] else []
    assert sorted(taken) == list(range(len(sizes)))
    assert weight == pytest.approx(1)
    for step, rows in enumerate(batches[:full]):
        assert np.ptp(tokens[step]) <= np.ptp(windows.lengths()[rows])


def test_evaluation_begins_with_the_longest_windows() -> None:
    batches = ordered_batches(np.arange(5000), LENGTHS, 16)
    longest = [int(LENGTHS[batch].max()) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60).filter(any), st.integers(1, 9), st.integers(1, 4))
def test_a_part_holds_whole_questions_and_fills_about_so_many_batches(
    windows: list[int], most: int, world_size: int
) -> None:
    example = np.repeat(np.arange(len(windows), dtype=np.int32), windows)
    rows = drawn_windows(example, most * 4, seed=42)
    questions = set(example[rows].tolist())
    assert rows.tolist() == [row for row, question in enumerate(example) if question in questions]
    assert 1 <= len(rows) <= max(most * 4, max(windows))
    assert len(rows) > most * 4 - 5 or len(questions) == len(set(example.tolist()))
    assert set(rows) <= set(drawn_windows(example, most * 4 + 1, seed=42))
    batches = ordered_batches(rows, LENGTHS, 4)
    shares = [batches_of_rank(batches, rank, world_size) for rank in range(world_size)]
    assert {int(row) for share in shares for batch in share for row in batch} == set(rows.tolist())


def test_a_part_is_drawn_whatever_the_lengths() -> None:
    example = np.arange(5000, dtype=np.int32)
    part = LENGTHS[drawn_windows(example, 500, seed=42)]
    assert len(part) == 500
    assert abs(part.mean() - LENGTHS.mean()) < 3 * LENGTHS.std() / 500**0.5
    assert np.array_equal(drawn_windows(example, np.inf, seed=42), example)


def test_a_window_does_not_depend_on_its_neighbours(minilm: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    data = squad(
        ("Ada built it in 1912. " * 9, [("a", "when ?", "1912")]), ("In 1913.", [("b", "which year ?", "1913")])
    )
    (tmp_path / "file.json").write_text(json.dumps(data))
    examples = read_examples(str(tmp_path / "file.json")).examples
    windows = build_windows(examples, minilm, 48, 8)
    dataset = EvaluationBatches(windows, examples, pair_template(minilm))
    together = dataset[np.arange(len(windows))]
    for row in range(len(windows)):
        alone = dataset[np.array([row])]
        length = alone["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask", "token_type_ids", "context_mask"):
            assert torch.equal(alone[name][0], together[name][row, :length])
            assert not together[name][row, length:].any()
