"""The data module: each split prepared as its stage needs it."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from helpers.questions import squad
from qa.data.datamodule import SquadDataModule
from qa.data.example import Example
from qa.data.reading.sources import Split
from qa.errors import UserError
from qa.model.optimization import schedule
from qa.training.module import QuestionAnsweringModule


def prepared(
    minilm: PreTrainedTokenizerFast, files: tuple[Path, Path], tmp_path: Path, **settings: Any
) -> SquadDataModule:
    module = SquadDataModule(
        train_file=str(files[0]),
        validation_file=str(files[1]),
        cache_dir=str(tmp_path),
        max_length=64,
        stride=16,
        **settings,
    )
    module.prepare_split("train", minilm)
    module.prepare_split("validation", minilm)
    return module


def test_an_epoch_is_made_of_batches_of_the_wanted_size(
    minilm: PreTrainedTokenizerFast, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    module = prepared(minilm, small_files, tmp_path, batch_size=7)
    batches = list(module.train_dataloader())
    assert len(batches) == len(module.train_dataloader()) == -(-len(module.splits["train"].windows) // 7)
    assert [len(batch["input_ids"]) for batch in batches[:-1]] == [7] * (len(batches) - 1)
    assert "offsets" not in batches[0]
    assert all(len(batch["ids"]) * batch["weight"] == pytest.approx(1) for batch in batches)
    share = 1 - sum(int(b["attention_mask"].sum()) for b in batches) / sum(b["attention_mask"].numel() for b in batches)
    assert module.padded_share() == pytest.approx(share)


def test_a_run_resumed_in_epoch_100_makes_that_epochs_order_alone(
    minilm: PreTrainedTokenizerFast, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    made: list[int] = []

    class Noting(SquadDataModule):
        def training_batches(self, epoch: int) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
            made.append(epoch)
            return super().training_batches(epoch)

    module = Noting(train_file=str(small_files[0]), cache_dir=str(tmp_path), max_length=64, stride=16, batch_size=7)
    module.prepare_split("train", minilm)
    count = module.batch_count()
    module.resume(100 * count + 5, count)
    first = next(iter(module.train_dataloader()))
    assert made == [100]
    assert first["rows"].tolist() == module.training_batches(100)[5].tolist()


def test_worker_processes_change_nothing(
    minilm: PreTrainedTokenizerFast, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    alone, helped = (prepared(minilm, small_files, tmp_path, num_workers=n) for n in (0, 2))
    for one, other in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert torch.equal(one["input_ids"], other["input_ids"])
    for one, other in zip(alone.val_dataloader(), helped.val_dataloader(), strict=True):
        assert one["ids"] == other["ids"]
        np.testing.assert_array_equal(one["offsets"], other["offsets"])


@pytest.mark.parametrize(("device", "size", "expected"), [("cpu", None, 16), ("cuda", None, 64), ("cuda", 8, 8)])
def test_an_evaluation_on_a_gpu_takes_larger_batches_of_the_same_questions(
    device: str,
    size: int | None,
    expected: int,
    minilm: PreTrainedTokenizerFast,
    small_files: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    module = prepared(minilm, (small_files[0], small_files[0]), tmp_path, eval_batch_size=size)
    strategy = SimpleNamespace(root_device=torch.device(device))
    module.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)  # type: ignore[assignment]
    sampler: Any = module.val_dataloader().sampler
    assert max(len(rows) for rows in sampler) == expected
    assert sorted(np.concatenate(list(sampler))) == list(range(len(module.splits["validation"].windows)))
    module.prepare_split("validation", minilm, limit=2)
    assert 8 < len(module.splits["validation"].evaluated) <= 2 * (size or 16)


def test_a_question_that_is_too_long_is_named_with_its_remedy(minilm: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    context = "Ada Brill built the bridge in 1912. " * 20
    path = tmp_path / "long.json"
    path.write_text(json.dumps(squad((context, [("a", "who ?", "Ada"), ("b", "why " * 60, "Ada")]))))
    module = SquadDataModule(train_file=str(path), cache_dir=str(tmp_path), max_length=64, stride=16)
    with pytest.raises(UserError, match=r"question 'b': too long .* data\.max_length=64 .* data\.on_bad_record=skip"):
        module.prepare_split("train", minilm)
    module = SquadDataModule(
        train_file=str(path), cache_dir=str(tmp_path), max_length=64, stride=16, on_bad_record="skip"
    )
    module.prepare_split("train", minilm)
    assert module.splits["train"].example_count() == 1
    [row] = module.lists["skipped.jsonl"]
    assert (row["split"], row["record"], row["file"]) == ("train", "question 'b'", str(path))
    assert row["kind"] == "question too long"


def test_a_split_without_a_file_is_named(minilm: PreTrainedTokenizerFast) -> None:
    for split, key in (("train", "train_file"), ("test", "test_file"), ("predict", "test_file")):
        with pytest.raises(UserError, match=rf"data\.{key}: not given"):
            SquadDataModule().prepare_split(split, minilm)  # type: ignore[arg-type]


def test_every_seed_is_evaluated_on_the_same_part_of_the_training_file(small_files: tuple[Path, Path]) -> None:
    def questions(**seeds: Any) -> list[str]:
        module = SquadDataModule(train_file=str(small_files[0]), validation_share=0.2, **seeds)
        train, validation = (module.sources.read(split).examples for split in ("train", "validation"))
        assert len(train) + len(validation) == 40
        return [example.id for example in validation]

    assert questions(seed=1) == questions(seed=2) != questions(split_seed=7)


def corrections(folder: Path, *rows: tuple[str, str, str]) -> Path:
    """A file of corrections: question, context and answer of each, with which it begins, "" for none."""
    lines = [
        {
            "id": f"correction-{n}",
            "question": question,
            "context": context,
            "answers": [{"text": text, "answer_start": 0}] if text else [],
        }
        for n, (question, context, text) in enumerate(rows)
    ]
    (folder / "corrections.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "corrections.jsonl"


def test_corrections_are_trained_and_never_drawn_for_validation(small_files: tuple[Path, Path], tmp_path: Path) -> None:
    def parts(*files: Path, share: float = 0.3) -> list[list[Example]]:
        module = SquadDataModule(train_file=[*map(str, files)], validation_share=share)
        return [module.sources.read("train").examples, module.sources.read("validation").examples]

    _, drawn = parts(small_files[0])
    text = drawn[0].context
    other = corrections(tmp_path, *[("Who?", f"Ada built bridge {n}.", "Ada") for n in range(30)])
    train, validation = parts(small_files[0], other)
    assert [example.id for example in validation] == [example.id for example in drawn]
    assert sum(example.is_correction for example in train) == 30
    corrections(tmp_path, ("Who, then?", text, text.split()[0]))
    train, validation = parts(small_files[0], other)  # a paragraph that somebody corrected is trained
    assert [example.id for example in validation] == [example.id for example in drawn if example.context != text]
    assert len(train) + len(validation) == 41
    with pytest.raises(UserError, match="all questions but corrections are on one paragraph"):
        parts(other)


@pytest.mark.parametrize("files", ["small_files", "v2_files"])
def test_corrections_alone_do_not_make_a_model_refuse(
    minilm: PreTrainedTokenizerFast, tmp_path: Path, files: str, request: pytest.FixtureRequest, caplog: Any
) -> None:
    """Those without an answer are trained where other questions have none either, or where that is asked for."""
    train = str(request.getfixturevalue(files)[0])
    other = corrections(tmp_path, ("Who?", "Ada built it.", "Ada"), ("When?", "Ada built it.", ""))

    def trained(*paths: str, **columns: str) -> tuple[set[str], list[str]]:
        module = SquadDataModule(train_file=[*paths], columns=columns, cache_dir=str(tmp_path))
        module.prepare_split("train", minilm)
        module.write_lists(tmp_path)
        names = {example.id for example in module.splits["train"].examples if example.is_correction}
        return names, list(module.splits["train"].skipped.elements())

    both, one = {"correction-0", "correction-1"}, {"correction-0"}
    kind = "correction without an answer"
    assert trained(train, str(other)) == ((both, []) if files == "v2_files" else (one, [kind]))
    assert trained(str(other)) == (one, [kind])
    assert f"train: records skipped: 1 {kind}; see skipped.jsonl" in caplog.text
    row = json.loads((tmp_path / "skipped.jsonl").read_text())
    assert (row["file"], row["record"], row["was"]) == (str(other), "question 'correction-1'", {"question": "When?"})
    assert trained(train, str(other), is_impossible="is_impossible")[0] == both
    with pytest.raises(UserError, match="no question has an answer; training needs some"):
        trained(str(corrections(tmp_path, ("When?", "Ada built it.", ""))))


def test_what_is_skipped_in_a_file_of_two_splits_is_counted_and_listed_once(
    minilm: PreTrainedTokenizerFast, small_files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = json.loads(small_files[0].read_text())
    first, *others = data["data"][0]["paragraphs"]
    first["qas"][0]["answers"][0]["answer_start"] += 1
    first["qas"][1]["question"] = "\ud800"
    others[0]["qas"][0]["answers"] = [{"text": "nowhere in it"}]
    (tmp_path / "bad.json").write_text(json.dumps(data))
    module = SquadDataModule(
        train_file=str(tmp_path / "bad.json"), validation_share=0.2, on_bad_record="repair", cache_dir=str(tmp_path)
    )
    module.prepare_split("train", minilm)
    module.prepare_split("validation", minilm)
    train, validation = module.splits["train"], module.splits["validation"]
    assert (train.skipped, validation.skipped) == ({"not UTF-8": 1, "answer not located": 1}, {})
    assert (train.repaired, validation.repaired) == ({"place": 1}, {})
    assert len(module.splits["train"].examples) + len(module.splits["validation"].examples) == 38
    splits: tuple[Split, ...] = ("train", "validation")
    paragraphs = [len({example.context for example in module.splits[split].examples}) for split in splits]
    for split, number in zip(splits, paragraphs, strict=True):
        assert module.sources.in_words(split) == f"{number} of the {sum(paragraphs)} paragraphs of {tmp_path}/bad.json"
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "train: records skipped: 1 not UTF-8, 1 answer not located; see skipped.jsonl",
        "train: records repaired: 1 place; see repairs.jsonl",
    ]
    module.write_lists(tmp_path)
    listed, repaired = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("skipped", "repairs")
    )
    assert [(row["split"], row["file"], row["was"]["question"]) for row in listed] == [
        ("train", f"{tmp_path}/bad.json", first["qas"][1]["question"]),
        ("train", f"{tmp_path}/bad.json", others[0]["qas"][0]["question"]),
    ]
    assert repaired[0]["was"]["answer_start"] == repaired[0]["is"]["answer_start"] + 1


def test_an_evaluation_on_the_training_file_is_a_warning(
    minilm: PreTrainedTokenizerFast, small_files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared(minilm, small_files, tmp_path)
    assert "training" not in caplog.text
    module = prepared(minilm, (small_files[0], small_files[0]), tmp_path)
    assert "validation: All 40 questions of the evaluation are training questions" in caplog.text
    assert module.shared is not None and module.shared.repeated == 40


def test_training_questions_on_contexts_of_the_evaluation_are_dropped_or_refused(
    minilm: PreTrainedTokenizerFast, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    both = tmp_path / "both.json"  # the validation file's contexts in other words for a computer, the same for people
    content = [json.loads(file.read_text()) for file in small_files]
    for paragraph in content[1]["data"][0]["paragraphs"]:
        paragraph["context"] = paragraph["context"].replace("Ada Brill. A", "Ada BRILL.\nA")
    both.write_text(json.dumps({"data": content[0]["data"] + content[1]["data"]}))
    module = prepared(minilm, (both, small_files[1]), tmp_path, overlap="drop")
    assert {example.id for example in module.splits["train"].examples} == set(ids(small_files[0]))
    assert module.splits["train"].skipped == {"context in the evaluation": 10}
    assert not module.splits["validation"].skipped
    assert module.shared is not None and module.shared.questions == 0
    for split, plain in prepared(minilm, small_files, tmp_path).splits.items():
        assert module.splits[split].fingerprint == plain.fingerprint
    prepared(minilm, small_files, tmp_path, overlap="error")
    for files, choice, message in (
        ((both, small_files[1]), "error", "data.overlap=error: All 10 questions .* with data.overlap=drop$"),
        ((small_files[1], small_files[1]), "drop", "data.overlap=drop: all training questions are on contexts of val"),
    ):
        with pytest.raises(UserError, match=message):
            prepared(minilm, files, tmp_path, overlap=choice)


def ids(file: Path) -> list[str]:
    """Of all questions of a SQuAD file."""
    articles = json.loads(file.read_text())["data"]
    return [qa["id"] for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]]


def test_a_bare_trainer_trains_and_evaluates(
    minilm: PreTrainedTokenizerFast, tiny: Path, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    """Without train.py: what is not prepared yet `setup` prepares; a fit may have no validation data."""
    data = SquadDataModule(
        train_file=str(small_files[0]), test_file=str(small_files[1]), cache_dir=str(tmp_path), max_length=64, stride=16
    )
    data.connect(minilm)
    adam, linear = partial(torch.optim.Adam, lr=1e-3), partial(schedule, name="linear", warmup_ratio=0.0)
    module = QuestionAnsweringModule(str(tiny), adam, linear, total_steps=3)
    quiet: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=3, limit_val_batches=0, enable_model_summary=False, **quiet
    )
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 3 and set(data.splits) == {"train"}
    trainer.test(module, datamodule=data, verbose=False)
    figures = trainer.callback_metrics
    assert set(figures) == {"val_loss", "exact_match", "f1"} and 0 <= figures["f1"] <= 100
    assert module.evaluation is not None and len(module.evaluation.questions) == 10
