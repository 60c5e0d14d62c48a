"""Both sides of each comparison: python -m bench.sides ROUNDS SIDE ARGUMENT …, started by `bench.turns`."""

import os
import sys
import tempfile
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from torch.utils.data import DataLoader
from transformers import AutoModelForQuestionAnswering, default_data_collator

from bench.turns import Turns
from bench.usual.training import logits, training_steps
from bench.usual.windows import MAX_LENGTH, STRIDE, load, training_windows
from qa.console import console, quiet_libraries
from qa.data.datamodule import SquadDataModule
from qa.data.epochs.batch_order import epoch_batches
from qa.data.reading.examples import read_examples
from qa.data.windows.build import Windows, build_windows
from qa.data.windows.tokenizer import backend, load_tokenizer
from qa.memory import keep_freed_memory
from qa.model.optimization import schedule
from qa.training.module import QuestionAnsweringModule

BATCH, STEPS, SEED = 16, 2, 42  # windows of a step, steps of a round


def usual_reading(turns: Turns, file: str) -> None:
    while turns():
        with tempfile.TemporaryDirectory() as cache:
            load(file, Path(cache))


def our_reading(turns: Turns, file: str) -> None:
    while turns():
        read_examples(file)


def usual_windows(turns: Turns, file: str, model: str) -> None:
    tokenizer = load_tokenizer(model)
    with tempfile.TemporaryDirectory() as cache:
        data = load(file, Path(cache))
        while turns():
            training_windows(data, tokenizer, keep_in_memory=True, load_from_cache_file=False)


def our_windows(turns: Turns, file: str, model: str) -> None:
    tokenizer, examples = load_tokenizer(model), read_examples(file).examples
    while turns():
        build_windows(examples, tokenizer, MAX_LENGTH, STRIDE)


def usual_encoding(turns: Turns, file: str, model: str) -> None:
    """What no windowing can do without: the tokenizer's own pass over each distinct text."""
    tokenizer = backend(load_tokenizer(model))
    texts = list({text: None for e in read_examples(file).examples for text in (e.question, e.context)})
    while turns():
        tokenizer.encode_batch(texts, add_special_tokens=False)


our_encoding = our_windows


def usual_warm(turns: Turns, file: str, model: str) -> None:
    """Both parts are in the cache, where nobody looks whether the file is still the same."""
    tokenizer = load_tokenizer(model)
    with tempfile.TemporaryDirectory() as cache:
        training_windows(load(file, Path(cache)), tokenizer)
        while turns():
            training_windows(load(file, Path(cache)), tokenizer)


def our_warm(turns: Turns, file: str, model: str) -> None:
    tokenizer = load_tokenizer(model)
    with tempfile.TemporaryDirectory() as cache:
        _our_data(cache, train_file=file).prepare_split("train", tokenizer)
        while turns():
            _our_data(cache, train_file=file).prepare_split("train", tokenizer)


def usual_training(turns: Turns, file: str, model: str) -> None:
    """Random batches of the windows that our side takes in the same round."""
    with tempfile.TemporaryDirectory() as cache:
        tokenizer = load_tokenizer(model)
        windows = training_windows(load(file, Path(cache)), tokenizer, keep_in_memory=True)
        first, *others = _batches(build_windows(read_examples(file).examples, tokenizer, MAX_LENGTH, STRIDE), turns)
        generator, rounds = np.random.default_rng(SEED), np.reshape(others, (turns.rounds, -1))
        order = np.concatenate([first, *(generator.permutation(rows) for rows in rounds)])
        loader: Any = DataLoader(windows.select(order), BATCH, collate_fn=default_data_collator)
        network = AutoModelForQuestionAnswering.from_pretrained(model).train()
        steps = training_steps(network, loader, 1 + turns.rounds * STEPS)
        next(steps)
        while turns():
            for _ in range(STEPS):
                next(steps)


def our_training(turns: Turns, file: str, model: str) -> None:
    class Data(SquadDataModule):
        def training_batches(self, epoch: int) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
            return _batches(self.splits["train"].windows, turns)

        def batch_count(self) -> int:
            return 1 + turns.rounds * STEPS

    class Rounds(lightning.Callback):
        def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
            if trainer.global_step % STEPS == 1 and not turns():
                raise SystemExit

        def on_train_end(self, *_: Any) -> None:
            turns()

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as cache:
        data = Data(train_file=file, cache_dir=cache)
        data.connect(load_tokenizer(model))
        trainer = lightning.Trainer(
            accelerator="cpu", devices=1, max_epochs=1, gradient_clip_val=1.0, callbacks=[Rounds()],
            limit_val_batches=0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        linear, adam = partial(schedule, name="linear", warmup_ratio=0.0), partial(torch.optim.Adam, lr=2e-5)
        trainer.fit(QuestionAnsweringModule(model, adam, linear, total_steps=data.batch_count()), datamodule=data)


def _batches(windows: Windows, turns: Turns) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """The first batches of a run's first epoch, in pairs of a short and a long one, behind one to begin with."""
    lengths = windows.lengths()
    first, *others = epoch_batches(lengths, BATCH, "bucketed", SEED, 0)[: 1 + turns.rounds * STEPS]
    others.sort(key=lambda rows: int(lengths[rows].max()))
    half = len(others) // 2
    return [first, *chain.from_iterable(zip(others[:half], others[half:][::-1], strict=True))]


def usual_logits(turns: Turns, file: str, model: str, questions: str) -> None:
    network = AutoModelForQuestionAnswering.from_pretrained(model).eval()
    with tempfile.TemporaryDirectory() as cache:
        data: Dataset = load(file, Path(cache)).select(range(int(questions)))
        windows: Any = training_windows(data, load_tokenizer(model), keep_in_memory=True)
        while turns():
            for _ in logits(network, DataLoader(windows, BATCH, collate_fn=default_data_collator)):
                pass


def our_logits(turns: Turns, file: str, model: str, questions: str) -> None:
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as cache:
        data = _our_data(cache, validation_file=file, limit=int(questions))
        data.prepare_split("validation", load_tokenizer(model))
    module = QuestionAnsweringModule(model, torch.optim.Adam, partial(schedule, name="linear", warmup_ratio=0.0)).eval()
    while turns():
        with torch.inference_mode():
            for batch in data.val_dataloader():
                module(batch)


def _our_data(cache: str, **files: Any) -> SquadDataModule:
    return SquadDataModule(cache_dir=cache, max_length=MAX_LENGTH, stride=STRIDE, eval_batch_size=BATCH, **files)


def main() -> None:
    rounds, side, *arguments = sys.argv[1:]
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no report
    console.quiet = True
    quiet_libraries()
    disable_progress_bars()
    globals()[side](Turns(int(rounds), reports), *arguments)


if __name__ == "__main__":
    main()
