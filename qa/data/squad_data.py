"""Files or a Hub data set → the examples and windows of each split; knows no Lightning."""

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from qa import recipe
from qa.data.arrays import Ints
from qa.data.epochs.batch_order import Batching, copies, drawn_windows, epoch_batches, padded_share
from qa.data.epochs.mixture import EpochPlan, Mixture, Share, file_weights, plan_epochs
from qa.data.example import Example, Label
from qa.data.reading.checked import Examples
from qa.data.reading.examples import OnBadRecord, collector_paused
from qa.data.reading.languages import Languages
from qa.data.reading.overlap import OnOverlap, Overlap, overlap, shared_examples
from qa.data.reading.record import BadRecord, Columns, Files
from qa.data.reading.sources import Sources, Split
from qa.errors import UserError
from qa.storage import write_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from qa.data.windows.build import Windows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedSplit:
    """A split that is read, checked, and cut into windows."""

    examples: list[Example]
    windows: "Windows"
    labels: Ints  # of training, as `qa.data.windows.labels` has them, [windows, labels, 2]
    evaluated: NDArray[np.int64]  # numbers of the windows that an evaluation takes
    fingerprint: str  # of content, tokenizer and window settings
    skipped: Counter[str]  # records by kind
    repaired: Counter[str]

    def example_count(self) -> int:
        """Questions that have a window."""
        return len(np.unique(self.windows.example))

    def evaluated_examples(self) -> list[Example]:
        """The questions that an evaluation takes, in their order."""
        return [self.examples[row] for row in np.unique(self.windows.example[self.evaluated])]


@dataclass(eq=False, repr=False)
class SquadData:
    """The splits that a stage needs: read, checked, and cut into windows.

    `name` is a SQuAD-shaped Hub data set with splits train, validation, test; without it the `*_file`s are read, each
    one path, a list or a glob; `validation_share` takes paragraphs of `train_file` with this share of its questions,
    drawn by `split_seed`, instead of a `validation_file`. `predictions_file` is for `qa.review.scores`. `limit` takes
    the first questions of each split. `languages` is the language of all files, or {stem: language}. `overlap` is what
    happens to training questions on contexts of validation.

    `mixture` is how often an epoch sees each window of a file ({stem: weight}, 1 for the others), or an exponent that
    weighs the files by their size; `negative_windows` is the share of the windows without their answer that an epoch
    takes: see `qa.data.epochs.mixture`. `label` is which reference answers training learns: see
    `qa.data.windows.labels`. Lengths and `stride` are in tokens. `num_workers` processes build batches
    ahead; None: 2 on a GPU, else none. `eval_batch_size`: None: 64 on a GPU, else 16.
    """

    name: str | None = None
    train_file: Files | None = None
    validation_file: Files | None = None
    test_file: Files | None = None
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    split_seed: NonNegativeInt = 42
    mixture: Mixture | None = None
    negative_windows: Share = 1.0
    label: Label = "first"
    predictions_file: str | None = None
    columns: Columns | Mapping[str, str] = Columns()
    languages: Languages | None = None
    overlap: OnOverlap = "warn"
    limit: PositiveInt | None = None
    on_bad_record: OnBadRecord = "error"
    cache_dir: str = "cache"
    cache_gib: PositiveFloat = 10.0
    max_length: Annotated[int, Field(ge=8)] = recipe.MAX_LENGTH
    stride: NonNegativeInt = recipe.STRIDE
    batch_size: PositiveInt = recipe.BATCH_SIZE
    micro_batch_size: PositiveInt | Literal["auto"] = "auto"
    eval_batch_size: PositiveInt | None = None
    batching: Batching = "bucketed"
    num_workers: NonNegativeInt | None = None
    seed: NonNegativeInt = recipe.RUN_SEED
    tokenizer: "PreTrainedTokenizerFast" = field(init=False)
    sources: Sources = field(init=False)
    splits: dict[Split, PreparedSplit] = field(init=False, default_factory=dict)
    plan: EpochPlan = field(init=False)  # of the windows of training
    shared: Overlap | None = field(init=False, default=None)  # by training and validation, once both are there
    lists: dict[str, list[dict[str, Any]]] = field(init=False)  # rows of each list of records, by its file's name

    def __post_init__(self) -> None:
        super().__init__()
        tests = dict.fromkeys(("test", "predict"), self.test_file)
        files = {"train": self.train_file, "validation": self.validation_file, **tests}
        columns = Columns.model_validate(dict(self.columns))
        reading = self.languages, self.on_bad_record, self.limit, self.validation_share, self.split_seed
        self.sources = Sources(self.name or "", files, columns, *reading)
        self.lists = {"skipped.jsonl": [], "repairs.jsonl": []}

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
        from qa.data.windows.labels import training_labels

        self.tokenizer = tokenizer
        read = self._read_training() if split == "train" else self.sources.read(split)
        key = fingerprint(read.examples, tokenizer, self.max_length, self.stride)
        path = Path(self.cache_dir, f"{key}.safetensors")
        windows = cached_windows(path, read.examples, tokenizer, self.max_length, self.stride, self.cache_gib * 2**30)
        self._check_room(split, windows, read)
        self.report(split, read)
        unit = (self.eval_batch_size or recipe.BATCH_SIZE) if isinstance(limit, int) else len(windows)
        most = math.inf if limit is None else limit * unit
        evaluated = drawn_windows(windows.example, most, self.split_seed)
        labels = training_labels(windows, read.examples, self.label if split == "train" else "first")
        self.splits[split] = PreparedSplit(read.examples, windows, labels, evaluated, key, read.skipped, read.repaired)
        if split == "train":
            self._plan_epochs(read.files)
        if {"train", "validation"} <= self.splits.keys():
            self._look_for_overlap()

    def _check_room(self, split: Split, windows: "Windows", read: Examples) -> None:
        """Lists the questions without a window, or refuses them."""
        from qa.data.windows.build import without_room

        lengths = f"data.max_length={self.max_length} that share data.stride={self.stride} tokens"
        problem = f"too long for windows of {lengths}"
        remedy = "raise the first, lower the second, or skip such questions with data.on_bad_record=skip"
        for row in without_room(windows):
            bad = self._bad(split, read, read.examples[row], "question too long", problem, remedy)
            if self.on_bad_record == "error":
                raise bad
            read.bad.append(bad)
        if not len(windows):
            problem = "no question leaves room for its context"
            raise UserError(f"{split}: {problem}; raise data.max_length={self.max_length}")

    def _bad(self, split: Split, read: Examples, example: Example, *why: str) -> BadRecord:
        """The error for an example that cannot be used."""
        file = str(read.files.get(example.id) or self.sources.in_words(split))
        return BadRecord(file, f"question {example.id!r}", {"question": example.question}, *why)

    def _plan_epochs(self, files: Mapping[str, Path]) -> None:
        """Decides which windows each training epoch takes. `files`: {id: its file}.

        Errors: UserError where no question has an answer.
        """
        train = self.splits["train"]
        examples, windows, has_label = train.examples, train.windows, train.labels[:, :, 1].max(axis=1) > 0
        if not any(example.answers for example in examples):
            raise UserError(
                f"{self.sources.in_words('train')}: no question has an answer; training needs some, in a field such as"
                " 'answers' or named by data.columns.answer=NAME"
            )
        if self.label != "first" and all(len(example.labels) < 2 for example in examples):
            log.warning("train: no question has several answers: data.label=%s changes nothing", self.label)
        unlabelled = np.setdiff1d(windows.example, windows.example[has_label])
        if lost := sum(not examples[row].is_impossible for row in unlabelled):
            log.warning("train: %d answers are whole in no window and are trained as (0, 0)", lost)
        paths = [files.get(example.id, Path(self.name or "")) for example in examples]
        weights = file_weights(self.mixture, self.train_file)
        self.plan = plan_epochs(windows.example, has_label, examples, paths, weights, self.negative_windows, self.seed)

    def _look_for_overlap(self) -> None:
        """Reports the overlap of validation with training, or refuses it."""
        self.shared = overlap(self.splits["train"].examples, self.splits["validation"].examples)
        if not (note := self.shared.note()):
            return
        if self.overlap == "error":
            remedy = "give other files, or leave such contexts out of training with data.overlap=drop"
            raise UserError(f"data.overlap=error: {note.rstrip('.')}; {remedy}")
        log.warning("validation: %s", note)

    def _read_training(self) -> Examples:
        """The training examples, without corrections that refuse where nothing else does, and without the overlap.

        Where no other training question lacks an answer, corrections that say "no answer" are skipped: SQuAD v1.1 stays
        that. With `overlap="drop"` so are the examples on contexts of validation, which is read for this.
        """
        read = self.sources.read("train")
        refusals = [example for example in read.examples if example.is_impossible]
        are_corrections = all(example.is_correction for example in refusals)
        if len(refusals) < len(read.examples) and are_corrections and not self.sources.columns.is_impossible:
            why = "only corrections have no answer here; data.columns.is_impossible=is_impossible takes them"
            self._skip(read, refusals, "correction without an answer", why)
        if self.overlap == "drop" and self.sources.has("validation"):
            validation = self.sources.read("validation").examples
            shared = [example for example, _ in shared_examples(validation, read.examples)]
            if len(shared) == len(read.examples):
                why = "all training questions are on contexts of validation"
                raise UserError(f"data.overlap=drop: {why}; give other files")
            self._skip(read, shared, "context in the evaluation", "its context is in the evaluation")
        return read

    def _skip(self, read: Examples, examples: list[Example], *why: str) -> None:
        """Leaves out these training examples, and lists them."""
        names = {example.id for example in examples}
        read.bad += [self._bad("train", read, example, *why) for example in examples]
        read.examples = [example for example in read.examples if example.id not in names]

    def report(self, split: Split, read: Examples) -> None:
        """Reports the skipped and repaired records, and remembers them for `write_lists`."""
        self.lists["skipped.jsonl"] += [{"split": split, **bad.row()} for bad in read.bad]
        self.lists["repairs.jsonl"] += [{"split": split, **row} for row in read.repairs]
        for how, kinds, name in (("skipped", read.skipped, "skipped"), ("repaired", read.repaired, "repairs")):
            if words := ", ".join(f"{count} {kind}" for kind, count in kinds.items()):
                log.warning("%s: records %s: %s; see %s.jsonl", split, how, words, name)
        if read.unplaced:
            how = "are not at their place, or have none, and count for EM and F1 alone"
            log.warning("%s: references that %s: %d", split, how, len(read.unplaced))

    def write_lists(self, folder: Path) -> None:
        """Writes each skipped and each repaired record into `skipped.jsonl` and `repairs.jsonl`, if there are any."""
        for name, rows in self.lists.items():
            if rows:
                # half of a surrogate pair becomes its escape, as JSON has it
                lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                write_text(folder / name, lines.encode(errors="backslashreplace").decode())

    def epoch_size(self) -> int:
        """Windows of a training epoch, each as often as it comes."""
        return int(self.plan.count.sum())

    def epoch_in_words(self) -> str:
        """The windows of a training epoch, by file; empty where each window comes once."""
        plain = self.mixture is None and self.negative_windows == 1
        return "" if plain else self.plan.in_words()

    def batch_count(self) -> int:
        """Batches, which are steps, of a whole training epoch."""
        return math.ceil(self.epoch_size() / self.batch_size)

    def training_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """The window numbers of each batch of a training epoch; a function of (seed, epoch) alone."""
        rows, lengths = self.plan.rows(epoch), self.splits["train"].windows.lengths()
        batches = epoch_batches(lengths[rows], self.batch_size, self.batching, self.seed, epoch, copies(rows))
        return [rows[batch] for batch in batches]

    def epoch_tokens(self) -> int:
        """Tokens of the first training epoch, without padding."""
        return int(self.splits["train"].windows.lengths()[self.plan.rows(0)].sum())

    def padded_share(self) -> float:
        """The share of padding among the tokens of the first training epoch."""
        return padded_share(self.splits["train"].windows.lengths(), self.training_batches(epoch=0))
