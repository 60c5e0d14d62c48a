"""What an epoch trains on: a fixed number of windows of each file, by turns, a function of (seed, epoch) alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from helpers.configs import composed
from helpers.questions import squad
from qa.config.settings import check_files, check_settings
from qa.data.datamodule import SquadDataModule
from qa.data.epochs.batch_order import epoch_batches
from qa.data.epochs.mixture import EpochPlan
from qa.data.squad_data import SquadData
from qa.errors import UserError

GROUPS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 25)), min_size=1, max_size=5)  # size, count


def turns(groups: list[tuple[int, int]], seed: int) -> EpochPlan:
    sizes, counts = np.array(groups).T
    place = np.concatenate([np.random.default_rng((seed, size)).permutation(size) for size in sizes])
    return EpochPlan(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes), place, sizes, counts)


@given(GROUPS, st.integers(0, 9), st.integers(0, 30), st.integers(1, 6))
def test_an_epoch_takes_a_fixed_number_of_each_group_and_nothing_again_before_all_of_it(
    groups: list[tuple[int, int]], seed: int, begin: int, epochs: int
) -> None:
    plan = turns(groups, seed)
    rows = [plan.rows(epoch) for epoch in range(begin, begin + epochs)]
    assert all(np.array_equal(row, np.sort(row)) for row in rows)
    for row in rows:
        assert np.bincount(plan.group[row], minlength=len(groups)).tolist() == plan.count.tolist()
    times = np.bincount(np.concatenate(rows).astype(np.int64), minlength=len(plan.group))
    for number, (size, count) in enumerate(groups):  # over any epochs, and so within one
        assert set(times[plan.group == number]) <= {count * epochs // size, -(-count * epochs // size)}


def test_groups_taken_whole_are_every_window_once_in_its_order() -> None:
    """So that batches without a mixture are what they were."""
    plan = turns([(5, 5), (3, 3)], seed=1)
    assert all(plan.rows(epoch).tolist() == list(range(8)) for epoch in range(4))


def files(folder: Path, **questions: int) -> list[str]:
    """SQuAD files of so many questions, each on a paragraph of its own of three windows, of which one has the answer;
    every third question is unanswerable."""
    for name, count in questions.items():
        rest = "Nothing else happened there on that day. " * 9
        texts = [f"In {name} {n} all was calm. {rest}" for n in range(count)]
        data = squad(*((text, [(f"{name}-{n}", "Where?", name)]) for n, text in enumerate(texts)))
        for paragraph in data["data"][0]["paragraphs"][::3]:
            paragraph["qas"][0]["is_impossible"] = True
        (folder / f"{name}.json").write_text(json.dumps(data))
    return [str(folder / f"{name}.json") for name in questions]


def prepared(tokenizer: PreTrainedTokenizerFast, tmp_path: Path, **settings: Any) -> SquadDataModule:
    given: dict[str, Any] = {"train_file": files(tmp_path, big=12, small=3), **settings}
    data = SquadDataModule(cache_dir=str(tmp_path / "cache"), max_length=40, stride=8, batch_size=8, **given)
    data.prepare_split("train", tokenizer)
    return data


def per_file(data: SquadData, epoch: int = 0) -> dict[str, int]:
    """Windows of an epoch of each file."""
    rows = np.concatenate(data.training_batches(epoch))
    train = data.splits["train"]
    names = [train.examples[row].id.partition("-")[0] for row in train.windows.example[rows]]
    return {name: names.count(name) for name in ("big", "small")}


def test_a_weight_is_how_often_an_epoch_sees_each_window_of_a_file(
    minilm: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    plain = per_file(prepared(minilm, tmp_path))
    assert plain == {"big": 36, "small": 9}
    mixed = prepared(minilm, tmp_path, mixture={"small": 2.0, "big": 0.5})
    assert all(per_file(mixed, epoch) == {"big": 18, "small": 18} for epoch in range(3))
    assert mixed.batch_count() == len(mixed.train_dataloader()) == len(mixed.training_batches(1)) == 5
    assert mixed.epoch_in_words().startswith("36 windows: big 18 from 36, small 18 from 9; of those without")
    once = {int(row) for epoch in (0, 1) for batch in mixed.training_batches(epoch) for row in batch}
    assert once == set(range(45))
    assert per_file(prepared(minilm, tmp_path, mixture={"small": 2.0})) == {"big": 36, "small": 18}


@pytest.mark.parametrize(("alpha", "small"), [(1.0, 9), (0.5, 18), (0.0, 36)])
def test_an_exponent_weighs_files_by_their_windows_and_sees_the_largest_once(
    alpha: float, small: int, minilm: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert per_file(prepared(minilm, tmp_path, mixture=alpha)) == {"big": 36, "small": small}
    (big,), small_file = files(tmp_path, big=12), tmp_path / "small.json"
    content, shards = json.loads(Path(big).read_text()), []
    for number in range(2):
        part = [{"title": "t", "paragraphs": content["data"][0]["paragraphs"][number::2]}]
        shards.append(tmp_path / f"train-0000{number}-of-00002.json")
        shards[number].write_text(json.dumps({"version": "1.1", "data": part}))
    sharded = prepared(minilm, tmp_path, mixture=alpha, train_file=[*map(str, shards), str(small_file)])
    assert per_file(sharded) == {"big": 36, "small": small}
    monkeypatch.chdir(tmp_path)  # where shards have no folder to be called by
    for shard in shards:
        bare = [path.name for path in (*shards, small_file)]
        twice = prepared(minilm, tmp_path, mixture={shard.stem: 2.0}, train_file=bare)
        assert per_file(twice)["small"] == 9 and sum(per_file(twice).values()) == 72 + 9
    thinned = prepared(minilm, tmp_path, mixture=0.0, negative_windows=0.25)
    assert len(set(per_file(thinned).values())) == 1


def test_an_epoch_has_every_answer_every_unanswerable_question_and_a_fresh_part_of_the_rest(
    minilm: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    data = prepared(minilm, tmp_path, negative_windows=0.25)
    windows, examples = data.splits["train"].windows, data.splits["train"].examples
    epochs = [np.concatenate(data.training_batches(epoch)) for epoch in range(5)]
    answered = set(np.flatnonzero(windows.end_positions > 0).tolist())
    impossible = {row for row, example in enumerate(examples) if example.is_impossible}
    for rows in epochs:
        assert len(rows) == data.epoch_size() == len(set(rows.tolist())) == 15 + 6 + 2
        assert answered <= set(rows.tolist())
        assert impossible <= set(windows.example[rows].tolist())
    parts = [set(rows.tolist()) - answered for rows in epochs]
    assert len({frozenset(part) for part in parts}) == 5
    assert set.union(*parts) | answered == set(range(45))
    assert "without their answer 8 from 30" in data.epoch_in_words()


def test_copies_of_a_window_are_in_other_batches(minilm: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    data = prepared(minilm, tmp_path, mixture={"small": 3.0})
    twins = []
    for epoch in range(8):
        batches = [batch.tolist() for batch in data.training_batches(epoch)]
        assert per_file(data, epoch) == {"big": 36, "small": 27}
        assert set(np.bincount(np.concatenate(batches))[36:]) == {3}
        twins.append(sum(len(batch) - len(set(batch)) for batch in batches))
    assert np.mean(twins) < 27 * 7 / 62  # pairs of copies, and the chance of a pair to meet


def test_without_a_mixture_batches_are_those_of_all_windows(minilm: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    data = prepared(minilm, tmp_path)
    lengths = data.splits["train"].windows.lengths()
    for epoch in range(3):
        whole = epoch_batches(lengths, 8, "bucketed", 42, epoch)
        assert [batch.tolist() for batch in data.training_batches(epoch)] == [batch.tolist() for batch in whole]
    assert data.epoch_in_words() == ""


def test_epochs_depend_on_seed_and_epoch_alone(minilm: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    def flat(seed: int, epoch: int) -> list[list[int]]:
        data = prepared(minilm, tmp_path, negative_windows=0.3, mixture=0.5, seed=seed)
        return [batch.tolist() for batch in data.training_batches(epoch)]

    assert flat(1, 4) == flat(1, 4) != flat(2, 4)
    assert {row for batch in flat(1, 4) for row in batch} != {row for batch in flat(2, 4) for row in batch}


def test_padding_is_that_of_the_windows_taken(minilm: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    data = prepared(minilm, tmp_path, negative_windows=0.3, mixture={"small": 2.5})
    batches = list(data.train_dataloader())
    share = 1 - sum(int(b["attention_mask"].sum()) for b in batches) / sum(b["attention_mask"].numel() for b in batches)
    assert data.padded_share() == pytest.approx(share)


def test_what_cannot_be_mixed_is_refused_in_one_line(tmp_path: Path) -> None:
    train = files(tmp_path, big=1, small=1)
    (tmp_path / "other").mkdir()
    twice = [*train, *files(tmp_path / "other", big=1)]
    for mixed, override, message in (
        (train, "data.mixture={smal:2}", "no file is called 'smal'; the files are big, small"),
        (twice, "data.mixture={big:2}", f"'big' is the name of {train[0]}, {twice[2]}; rename all but one"),
        (None, "data.mixture=0.5", r"mixes files; give data\.train_file=\[a\.json,b\.json\]"),
    ):
        more = [f"data.train_file={json.dumps(mixed)}", f"data.validation_file={train[0]}"] if mixed else []
        _, config = composed(override, *more, tmp_path=tmp_path)
        with pytest.raises(UserError, match=rf"^data\.mixture: {message}$"):
            check_files(check_settings(config))
