"""The sources of each split: files, a part of the training file, or a data set of the hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import tee
from pathlib import Path
from typing import Literal

from qa.data.reading.checked import Examples, Need
from qa.data.reading.examples import OnBadRecord, check_records, read_examples, report_assumed, split_by_paragraph
from qa.data.reading.files import find_files, kind_of
from qa.data.reading.languages import Languages, with_languages
from qa.data.reading.record import Columns, Files
from qa.data.reading.records import TABLES, hub_records, other_split, read_records
from qa.errors import UserError
from qa.hub import with_commit

Split = Literal["train", "validation", "test", "predict"]


@dataclass
class Sources:
    """The sources of all splits, named and read as `SquadData` says."""

    name: str  # of a data set of the hub, "" without one
    files: Mapping[str, Files | None]
    columns: Columns
    languages: Languages | None
    on_bad_record: OnBadRecord
    limit: int | None
    validation_share: float | None
    split_seed: int
    _shared: Examples | None = None  # of a file that training and validation divide
    _parts: dict[str, str] = field(default_factory=dict)  # the part of each, in words

    def read(self, split: Split, need: Need = "places") -> Examples:
        """The checked examples of a split. Errors: UserError for a file or a record that cannot be used."""
        need = "nothing" if split == "predict" else need
        if self.validation_share and split in ("train", "validation"):
            return self._part_of_training_file(split, need)
        if files := self.files[split]:
            return read_examples(files, self.on_bad_record, self.limit, need, self.columns, self.languages)
        self.check(split)
        part = "test" if split == "predict" else split
        records = hub_records(self.name, part, self.columns)
        if split == "test":
            records, asked = tee(records)
            examples = check_records(asked, "skip", self.limit, "nothing").examples
            if not any(example.answers for example in examples):  # such as those that a leaderboard keeps
                raise UserError(f"{self.name}: has no {part} split with answers; {other_split(part)}")
        read = check_records(records, self.on_bad_record, self.limit, need)
        report_assumed(self.name, read)
        read.examples = with_languages(read.examples, Path(self.name), self.languages)
        return read

    def _part_of_training_file(self, split: Split, need: Need) -> Examples:
        """A split's part of the file, which is read once: its skipped and repaired records go to the first split."""
        if self.files["validation"] or not self.files["train"]:
            raise UserError("data.validation_share: takes a part of data.train_file; give no data.validation_file")
        read = self._shared or read_examples(
            self.files["train"], self.on_bad_record, self.limit, need, self.columns, self.languages
        )
        self._shared = Examples(read.examples, files=read.files)
        plain = [example for example in read.examples if not example.is_correction]
        _, drawn = split_by_paragraph(plain, self.validation_share or 0, self.split_seed)
        corrected = {example.context for example in read.examples if example.is_correction}
        held_out = {example.context for example in drawn} - corrected
        if not held_out:
            raise UserError("data.validation_share: all paragraphs drawn have corrections; give a validation_file")
        examples = [example for example in read.examples if (example.context in held_out) == (split == "validation")]
        paragraphs, of = (len({example.context for example in part}) for part in (examples, read.examples))
        self._parts[split] = f"{paragraphs:,} of the {of:,} paragraphs of {self._names('train')}"
        return replace(read, examples=examples)

    def has(self, split: Split) -> bool:
        """Whether files or a Hub data set are given for a split."""
        return bool(self.files[split] or self.name or (split == "validation" and self.validation_share))

    def check(self, split: Split) -> None:
        """Looks at no more than the head of a table. Errors: UserError for no source, and for columns not known."""
        if not self.has(split):
            key = "test" if split == "predict" else split
            remedy = "give one path, a list or a glob"
            if split == "validation" and self.files["train"]:
                remedy += ", or data.validation_share=0.1 to take a tenth of data.train_file's questions"
            raise UserError(f"data.{key}_file: not given; {remedy}")
        for path in find_files(files) if (files := self.files[split]) else []:
            if kind_of(path) in TABLES:
                next(read_records(path, self.columns), None)

    def in_words(self, split: Split) -> str:
        """The source of a split, for people."""
        is_part = self.validation_share and split == "validation"
        return self._parts.get(split) or self._names("train" if is_part else split)

    def _names(self, split: Split) -> str:
        files = self.files[split]
        names = [files] if isinstance(files, str) else files or [f"{self.name} from the hub"]
        return ", ".join(with_commit(name) if name.startswith("hf://") else name for name in names)
