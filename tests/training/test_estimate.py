"""What is said before a run and at its beginning."""

import json
import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertModel, BertTokenizer, PreTrainedTokenizerFast

from helpers.commands import Run, quick_fit
from helpers.paths import real_data
from helpers.questions import squad
from qa.data.datamodule import SquadDataModule
from qa.data.windows.vocabulary import broken_words
from qa.runs.checkpoints import load_checkpoint
from qa.runs.disk import check_disk, disk_needed
from qa.training.estimate import RISE, STEPS, Estimate

Files = tuple[Path, Path]


def test_a_run_folder_takes_no_more_than_was_estimated(
    tiny: Path, small_files: Files, train_py: Run, tmp_path: Path
) -> None:
    parameters = 995_138
    for state, dropped in (("all", False), ("last", True)):
        done = train_py(
            *quick_fit(small_files, tiny, tmp_path / "cache"), "trainer.max_epochs=3", "checkpoint.keep=2",
            f"checkpoint.optimizer_state={state}", f"hydra.run.dir={tmp_path}/{state}",
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        large = (file.stat() for file in (tmp_path / state).rglob("*") if file.suffix in (".ckpt", ".safetensors"))
        files = {stat.st_ino: stat.st_size for stat in large}
        needed = disk_needed(parameters, keep=2, dropped=dropped)
        assert 0.4 * needed < sum(files.values()) < needed
    checkpoints = tmp_path / "last" / "checkpoints"
    assert load_checkpoint(checkpoints / "last.ckpt")["optimizer_states"]
    for path in (checkpoints / "best.ckpt", *checkpoints.glob("step-*.ckpt")):
        assert not load_checkpoint(path)["optimizer_states"]
        assert path.stat().st_size < 0.4 * (checkpoints / "last.ckpt").stat().st_size
    more = f"resume={checkpoints}/step-10.ckpt", "trainer.max_epochs=3", f"hydra.run.dir={tmp_path}/more"
    done = train_py(*quick_fit(small_files, tiny, tmp_path / "cache"), *more)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "step-10.ckpt: without the optimizer's state, no run resumes from it; take last.ckpt" in done.stderr


def test_too_little_disk_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "take up to 10 bytes" in check_disk(tmp_path, 10)
    assert not caplog.records
    check_disk(tmp_path, 10**18)
    assert "checkpoints and model may take 1.0 EB; make room" in caplog.text


def steps(losses: list[float], trained_head: bool = False, first: int = 1) -> None:
    """The callback through a run of these losses, on windows of 100 tokens, whose chance is log(100) = 4.61."""
    estimate = Estimate()
    batch: Any = {"attention_mask": torch.ones(4, 100), "tokens": 400}
    for step, loss in enumerate(losses, first):
        figures = {"loss": loss, "learning_rate": 0.01}
        read = partial(lambda figures, use: use(figures), figures)
        module: Any = SimpleNamespace(when_read=read, trained_head=trained_head, total_steps=0)
        trainer: Any = SimpleNamespace(global_step=step)
        estimate.on_train_batch_start(trainer, module, batch, step)
        estimate.on_train_batch_end(trainer, module, None, batch, step)


def test_a_first_loss_far_from_chance_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    steps([4.0])
    steps([0.5], trained_head=True)
    steps([9.0], first=50)
    assert not caplog.records
    steps([9.0])
    assert "the first loss is 9.00, where chance gives 4.61" in caplog.text


def test_a_rising_loss_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    begin = [4.4] * STEPS
    steps(begin + [4.4 + 0.9 * RISE] * 50)
    steps([*begin, *[2.0] * 50, *[4.5] * 50])
    steps(begin + [9.0] * 50, first=2)
    assert not caplog.records
    steps(begin + [4.4 + 1.1 * RISE] * 50)
    assert [record.getMessage() for record in caplog.records] == [
        "the loss rises: 4.71 over the last 20 steps, 4.40 over the first, at learning rate 0.01; lower optimizer.lr,"
        " or take scheduler.warmup_ratio=0.1"
    ]


def test_a_real_run_begins_at_chance_and_says_how_long_it_takes(
    tiny: Path, small_files: Files, train_py: Run, tmp_path: Path
) -> None:
    BertModel.from_pretrained(tiny).save_pretrained(tmp_path / "body")
    for file in tiny.glob("token*"):
        (tmp_path / "body" / file.name).symlink_to(file)
    command = quick_fit(small_files, tmp_path / "body", tmp_path / "cache")
    done = train_py(*command, "trainer.max_epochs=10", f"hydra.run.dir={tmp_path}/run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a new span head" in done.stdout
    assert "after 20 steps: about 0:00:" in done.stdout


@pytest.mark.parametrize(("language", "problem"), [("en", ""), ("de", "into 2."), ("zh", "does not know 60%")])
def test_a_tokenizer_of_another_language_is_reported(
    language: str, problem: str, minilm: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    data = SquadDataModule(test_file=str(real_data(f"xquad.{language}.json")), cache_dir=str(tmp_path))
    data.prepare_split("test", minilm)
    reason = broken_words(minilm, data.splits["test"].windows, data.splits["test"].examples)
    assert problem in reason and bool(problem) == bool(reason)


def test_a_vocabulary_of_many_languages_is_not_advised_to_those_who_have_it(tmp_path: Path) -> None:
    vocabulary = real_data("bert-base-multilingual-cased.vocab.txt")
    mbert = BertTokenizer(vocab=str(vocabulary), do_lower_case=False)
    korean = "탄윅의 나루터는 미렐 오스칸더가 열었고, 그의 조카딸이 뒤에 문을 닫았다. 사람들은 다리를 이용하였다."
    cherokee = "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᎠᏂᏴᏫᏯ ᎤᏂᎦᏚᎢ"
    for context, problem in ((korean, ""), (cherokee, "does not know 100% of the tokens of these contexts; take a")):
        (tmp_path / "a.json").write_text(json.dumps(squad((context, [("a", "?", context[:3])]))))
        data = SquadDataModule(test_file=str(tmp_path / "a.json"), cache_dir=str(tmp_path))
        data.prepare_split("test", mbert)
        found = broken_words(mbert, data.splits["test"].windows, data.splits["test"].examples)
        assert problem in found and bool(problem) == bool(found) and "mbert" not in found
