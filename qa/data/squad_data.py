"""Files or a Hub data set → the examples and windows of each split; knows no Lightning."""

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from qa.data.epochs.batch_order import Batching, copies, drawn_windows, epoch_batches, padded_share
from qa.data.epochs.mixture import Mixture, Share, Turns, file_weights, take_turns
from qa.data.example import Example
from qa.data.reading.checked import Examples
from qa.data.reading.examples import OnBadRecord, collector_paused
from qa.data.reading.languages import Languages
from qa.data.reading.overlap import OnOverlap, Overlap, overlap, without_overlap
from qa.data.reading.record import BadRecord, Columns, Files, Record
from qa.data.reading.sources import Sources, Split
from qa.errors import UserError
from qa.storage import write_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from qa.data.windows.build import Windows

log = logging.getLogger(__name__)


class SquadData:
    """The splits that a stage needs: read, checked, and cut into windows.

    `name` is a SQuAD-shaped Hub data set with splits train, validation, test; without it the `*_file`s are read, each
    one path, a list or a glob; `validation_share` takes paragraphs of `train_file` with this share of its questions,
    drawn by `split_seed`, instead of a `validation_file`. `predictions_file` is for `qa.review.scores`. `limit` takes
    the first questions of each split. `languages` is the language of all files, or {stem: language}. `overlap` is what
    happens to training questions on contexts of validation.

    `mixture` is how often an epoch sees each window of a file ({stem: weight}, 1 for the others), or an exponent that
    weighs the files by their size; `negative_windows` is the share of the windows without their answer that an epoch
    takes: see `qa.data.epochs.mixture`. Lengths and `stride` are in tokens. `num_workers` processes build batches
    ahead; None: 2 on a GPU, else none. `eval_batch_size`: None: 64 on a GPU, else 16.
    """

    def __init__(
        self,
        name: str | None = None,
        train_file: Files | None = None,
        validation_file: Files | None = None,
        test_file: Files | None = None,
        validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None,
        split_seed: NonNegativeInt = 42,
        mixture: Mixture | None = None,
        negative_windows: Share = 1.0,
        predictions_file: str | None = None,
        columns: Columns | Mapping[str, str] = Columns(),
        languages: Languages | None = None,
        overlap: OnOverlap = "warn",
        limit: PositiveInt | None = None,
        on_bad_record: OnBadRecord = "error",
        cache_dir: str = "cache",
        cache_gib: PositiveFloat = 10.0,
        max_length: Annotated[int, Field(ge=8)] = 384,
        stride: NonNegativeInt = 128,
        batch_size: PositiveInt = 16,
        micro_batch_size: PositiveInt | Literal["auto"] = "auto",
        eval_batch_size: PositiveInt | None = None,
        batching: Batching = "bucketed",
        num_workers: NonNegativeInt | None = None,
        seed: NonNegativeInt = 42,
    ) -> None:
        super().__init__()
        files = {"train": train_file, "validation": validation_file, "test": test_file, "predict": test_file}
        names = Columns.model_validate(dict(columns))
        self.sources = Sources(name, files, names, languages, on_bad_record, limit, validation_share, split_seed)
        self.on_bad_record, self.on_overlap = on_bad_record, overlap
        self.mixture, self.negative_windows = mixture, negative_windows
        self.predictions_file = predictions_file
        self.split_seed = split_seed
        self.cache_dir, self.cache_limit = Path(cache_dir), cache_gib * 2**30
        self.max_length, self.stride = max_length, stride
        self.batch_size, self.eval_batch_size, self.batching = batch_size, eval_batch_size, batching
        self.micro_batch_size = micro_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.tokenizer: PreTrainedTokenizerFast | None = None
        self.examples: dict[str, list[Example]] = {}
        self.windows: dict[str, Windows] = {}
        self.turns: Turns  # of the windows of training, once they are there
        self.trained_files: list[Path] = []  # each training example's
        self.evaluated: dict[str, NDArray[np.int64]] = {}  # windows that an evaluation of the split takes
        self.fingerprints: dict[str, str] = {}  # of content, tokenizer and window settings
        self.bad: dict[str, list[BadRecord]] = {}  # that were skipped
        self.repairs: dict[str, list[dict[str, Any]]] = {}  # rows of repairs.jsonl
        self.overlap: Overlap | None = None  # of training and validation, once both are there

    @collector_paused()
    def prepare_split(
        self, split: Split, tokenizer: "PreTrainedTokenizerFast", limit: int | float | None = None
    ) -> None:
        """Reads, checks and cuts one split into windows.

        `limit`: evaluate a random part of the questions only. Its windows fill at most so many batches (int; of 16
        without `eval_batch_size`) or are at most this share of all (float). It is the same for every seed of a run,
        number of devices and epoch.
        Errors: UserError for a file or a record that cannot be used, or a question that leaves no room for its context.
        """
        from qa.data.windows.cache import cached_windows, fingerprint  # needs torch, which scoring does without

        self.tokenizer = tokenizer
        read = self.sources.read(split)
        if split == "train":
            self._drop_refusals(read)
            if self.on_overlap == "drop" and self.sources.has("validation"):
                self._drop_overlap(read)
        examples = read.examples
        key = self.fingerprints[split] = fingerprint(examples, tokenizer, self.max_length, self.stride)
        path = self.cache_dir / f"{key}.safetensors"
        windows = cached_windows(path, examples, tokenizer, self.max_length, self.stride, self.cache_limit)
        self._check_room(split, windows, read)
        self.report(split, read)
        self.examples[split], self.windows[split] = examples, windows
        if split == "train":
            self._plan_epochs(read.files)
        if {"train", "validation"} <= self.examples.keys():
            self._look_for_overlap()
        unit = (self.eval_batch_size or 16) if isinstance(limit, int) else len(windows)
        most = math.inf if limit is None else limit * unit
        self.evaluated[split] = drawn_windows(windows.example, most, self.split_seed)

    def _check_room(self, split: Split, windows: "Windows", read: Examples) -> None:
        """Lists the questions without a window, or refuses them."""
        from qa.data.windows.build import without_room

        problem = (
            f"too long for windows of data.max_length={self.max_length} that share data.stride={self.stride} tokens"
        )
        remedy = "raise the first, lower the second, or skip such questions with data.on_bad_record=skip"
        for row in without_room(windows):
            bad = self._bad(split, read, read.examples[row], "question too long", problem, remedy)
            if self.on_bad_record == "error":
                raise bad
            read.bad.append(bad)
        if not len(windows):
            raise UserError(
                f"{split}: no question leaves room for its context; raise data.max_length={self.max_length}"
            )

    def _bad(self, split: Split, read: Examples, example: Example, *why: str) -> BadRecord:
        """The error for an example that cannot be used."""
        file = str(read.files.get(example.id) or self.sources.in_words(split))
        record = Record(file, f"question {example.id!r}", {"question": example.question})
        return BadRecord(record, *why)

    def _plan_epochs(self, files: Mapping[str, Path]) -> None:
        """Decides which windows each training epoch takes. `files`: {id: its file}."""
        from qa.data.windows.build import unlabelled

        examples, windows = self.examples["train"], self.windows["train"]
        unanswerable = sum(examples[row].is_impossible for row in np.unique(windows.example))
        if lost := unlabelled(windows) - unanswerable:
            log.warning("train: %d first answers are whole in no window and are trained as (0, 0)", lost)
        origin = Path(self.sources.name or "")
        self.trained_files = [files.get(example.id, origin) for example in examples]
        weights = file_weights(self.mixture, self.sources.files["train"])
        self.turns = take_turns(windows, examples, self.trained_files, weights, self.negative_windows, self.seed)

    def _look_for_overlap(self) -> None:
        """Reports the overlap of validation with training, or refuses it."""
        self.overlap = overlap(self.examples["train"], self.examples["validation"])
        note = self.overlap.note()
        if note and self.on_overlap == "error":
            remedy = "give other files, or leave such contexts out of training with data.overlap=drop"
            raise UserError(f"data.overlap=error: {note.rstrip('.')}; {remedy}")
        if note:
            log.warning("validation: %s", note)

    def _drop_overlap(self, read: Examples) -> None:
        """Leaves out the training examples on contexts of validation, which is read for this."""
        kept = without_overlap(read.examples, self.sources.read("validation").examples)
        if not kept:
            raise UserError("data.overlap=drop: all training questions are on contexts of validation; give other files")
        self._keep(read, kept, "context in the evaluation", "its context is in the evaluation")

    def _drop_refusals(self, read: Examples) -> None:
        """Leaves out corrections that say "no answer" where no other training question does: SQuAD v1.1 stays that."""
        refusals = [example for example in read.examples if example.is_impossible]
        kept = [example for example in read.examples if not example.is_impossible]
        if kept and all(e.is_correction for e in refusals) and not self.sources.columns.is_impossible:
            why = "only corrections have no answer here; data.columns.is_impossible=is_impossible takes them"
            self._keep(read, kept, "correction without an answer", why)

    def _keep(self, read: Examples, kept: list[Example], kind: str, reason: str) -> None:
        """Skips all training examples but these, and lists them."""
        names = {example.id for example in kept}
        read.bad += [self._bad("train", read, e, kind, reason) for e in read.examples if e.id not in names]
        read.examples = kept

    def report(self, split: Split, read: Examples) -> None:
        """Reports the skipped and repaired records, and remembers them.

        Errors: UserError where no training question has an answer.
        """
        self.bad[split], self.repairs[split] = read.bad, read.repairs
        repaired = Counter(row["kind"] for row in read.repairs)
        for how, kinds, name in (("skipped", read.skipped, "skipped"), ("repaired", repaired, "repairs")):
            if words := ", ".join(f"{count} {kind}" for kind, count in kinds.items()):
                log.warning("%s: records %s: %s; see %s.jsonl", split, how, words, name)
        if read.unplaced:
            how = "are not at their place, or have none, and count for EM and F1 alone"
            log.warning("%s: references that %s: %d", split, how, len(read.unplaced))
        if split == "train" and not any(example.answers for example in read.examples):
            raise UserError(
                f"{self.sources.in_words(split)}: no question has an answer; training needs some, in a field such as"
                " 'answers' or named by data.columns.answer=NAME"
            )

    def write_lists(self, folder: Path) -> None:
        """Writes each skipped and each repaired record into `skipped.jsonl` and `repairs.jsonl`, if there are any."""
        skipped = {split: [bad.row() for bad in records] for split, records in self.bad.items()}
        for name, lists in (("skipped.jsonl", skipped), ("repairs.jsonl", self.repairs)):
            rows = [{"split": split, **row} for split, part in lists.items() for row in part]
            if rows:
                # half of a surrogate pair becomes its escape, as JSON has it
                lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                write_text(folder / name, lines.encode(errors="backslashreplace").decode())

    def example_count(self, split: Split) -> int:
        """Questions of a split that have a window."""
        return len(np.unique(self.windows[split].example))

    def evaluated_examples(self, split: Split) -> list[Example]:
        """The questions that an evaluation of the split takes, in their order."""
        rows = np.unique(self.windows[split].example[self.evaluated[split]])
        return [self.examples[split][row] for row in rows]

    def epoch_size(self) -> int:
        """Windows of a training epoch, each as often as it comes."""
        return int(self.turns.count.sum())

    def epoch_in_words(self) -> str:
        """The windows of a training epoch, by file; empty where each window comes once."""
        plain = self.mixture is None and self.negative_windows == 1
        return "" if plain else self.turns.in_words(self.trained_files)

    def batch_count(self) -> int:
        """Batches, which are steps, of a whole training epoch."""
        return math.ceil(self.epoch_size() / self.batch_size)

    def training_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """The window numbers of each batch of a training epoch; a function of (seed, epoch) alone."""
        rows, lengths = self.turns.rows(epoch), self.windows["train"].lengths()
        batches = epoch_batches(lengths[rows], self.batch_size, self.batching, self.seed, epoch, copies(rows))
        return [rows[batch] for batch in batches]

    def epoch_tokens(self) -> int:
        """Tokens of the first training epoch, without padding."""
        return int(self.windows["train"].lengths()[self.turns.rows(0)].sum())

    def padded_share(self) -> float:
        """The share of padding among the tokens of the first training epoch."""
        return padded_share(self.windows["train"].lengths(), self.training_batches(epoch=0))
