"""Records → examples: every record checked for what the stage needs, the bad ones named or counted."""

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, repeat
from pathlib import Path
from typing import Literal

import numpy as np

from qa.console import track
from qa.data.example import Example
from qa.data.reading.checked import Examples, Need, check_record
from qa.data.reading.file_names import stem
from qa.data.reading.files import find_files
from qa.data.reading.languages import Languages, with_languages
from qa.data.reading.record import BadRecord, Columns, Files, Record
from qa.data.reading.records import read_records
from qa.errors import UserError

log = logging.getLogger(__name__)

OnBadRecord = Literal["error", "skip", "repair"]
RESTARTS = 1 / 3  # of a file's ids: where more recur, all in other paragraphs, they number a paragraph's questions


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps Python from looking for cycles, which takes longer than the reading itself and finds none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@collector_paused()
def read_examples(
    files: Files,
    on_bad_record: OnBadRecord = "error",
    limit: int | None = None,
    need: Need = "places",
    columns: Columns = Columns(),
    languages: Languages | None = None,
) -> Examples:
    """Reads and checks one split; ids that recur across its files become `<file stem>/<id>`.

    `limit` takes the first questions only. Errors: BadRecord (a UserError) for the first record that cannot be used,
    where `on_bad_record` is "error"; UserError for a file that cannot be read at all or a split without a question.
    """
    paths = find_files(files)
    per_file: list[list[Example]] = []
    read = Examples()
    left = limit
    for path in paths:
        checked = check_records(read_records(path, columns), on_bad_record, left, need)
        report_assumed(path, checked)
        per_file.append(with_languages(checked.examples, path, languages))
        read.bad += checked.bad
        read.repairs += checked.repairs
        read.unplaced += checked.unplaced
        left = None if left is None else left - len(checked.examples)
        if left == 0:
            if unread := paths[len(per_file) :]:
                log.warning("data.limit=%s is reached; not read: %s", limit, ", ".join(map(str, unread)))
            break
    read.examples = _unique_across_files(paths, per_file)
    if not read.examples:
        counts = ", ".join(f"{count} {kind}" for kind, count in read.skipped.items())
        note = f" (skipped: {counts}, the first at {read.bad[0].problem})" if counts else ""
        raise UserError(f"{', '.join(map(str, paths))}: no question in it{note}; give a file that holds some")
    for path, part in zip(paths, per_file, strict=False):
        if not part:
            log.warning("%s: no question in it", path)
    origins = [path for path, part in zip(paths, per_file, strict=False) for _ in part]
    read.files = dict(zip((example.id for example in read.examples), origins, strict=True))
    return read


def check_records(
    records: Iterator[Record | BadRecord], on_bad_record: OnBadRecord, limit: int | None, need: Need
) -> Examples:
    """Checks the records of one file, where ids must be unique; returns the good ones and lists the others.

    Errors: BadRecord for the first record that cannot be used, where `on_bad_record` is "error".
    """
    read = Examples()
    ids = _Ids()
    first: BadRecord | None = None
    kinds: Counter[str] = Counter()
    contexts: dict[str, str] = {}  # each in memory once, whatever the questions on it
    for record in track(records, "reading questions", total=limit):
        try:
            if isinstance(record, BadRecord):
                raise record
            example = check_record(record, on_bad_record == "repair", need, read)
        except BadRecord as bad:
            kinds[bad.kind] += 1
            first = first or bad
            if on_bad_record != "error":
                read.bad.append(bad.with_traceback(None))  # its frames hold the record
            continue
        context = contexts.setdefault(example.context, example.context)
        read.examples.append(example if context is example.context else example.model_copy(update={"context": context}))
        ids.add(example.id, record)
        if len(ids.rows) == limit:
            break
    if first and on_bad_record == "error":
        raise first.among(kinds)
    ids.settle(read, on_bad_record, need)
    read.examples = read.examples[:limit]
    if read.unknown_languages:
        names = ", ".join(f"{name} ({number})" for name, number in read.unknown_languages.most_common(3))
        log.warning("%s: neither a code of ISO 639 nor an English name of a language: %s", record.file, names)
    return read


def report_assumed(file: Path | str, read: Examples) -> None:
    """Warns of questions that are taken as unanswerable though the file does not say so plainly."""
    if reasons := Counter(why for why, _ in read.assumed):
        how = ", ".join(f"{number} {why}" for why, number in reasons.items())
        log.warning("%s: questions taken as unanswerable: %s", file, how)


class _Ids:
    """The ids of a file's examples, and the records that repeat one."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}  # the first example with each id
        self.places: list[str] = []  # of the examples' records
        self.groups: list[str] = []
        self.repeats: dict[int, Record] = {}

    def add(self, name: str, record: Record) -> None:
        row = len(self.places)
        self.places.append(record.place)
        self.groups.append(record.group)
        if self.rows.setdefault(name, row) != row:
            self.repeats[row] = record._replace(fields={"id": name})

    def settle(self, read: Examples, on_bad_record: OnBadRecord, need: Need) -> None:
        """Makes ids that restart in every paragraph `<article>.<paragraph>/<id>`; renames or lists other repeated ones.

        Errors: BadRecord for a repeated id.
        """
        if not self.repeats:
            return
        examples = read.examples
        within = {(group, example.id) for group, example in zip(self.groups, examples, strict=True)}
        if len(within) == len(examples) and len(self.repeats) > RESTARTS * len(examples):
            names = [f"{group}/{example.id}" for group, example in zip(self.groups, examples, strict=True)]
            read.examples = [e.model_copy(update={"id": name}) for e, name in zip(examples, names, strict=True)]
            file = next(iter(self.repeats.values())).file
            log.warning("%s: ids restart in every paragraph; they are now such as %r", file, names[0])
        elif on_bad_record == "repair" or need == "nothing":
            copies: Counter[str] = Counter()
            for row, record in self.repeats.items():
                name = examples[row].id
                copies[name] += 1
                new = next(new for n in count(copies[name] + 1) if (new := f"{name}-{n}") not in self.rows)
                self.rows[new] = row
                examples[row] = examples[row].model_copy(update={"id": new})
                read.repairs.append(record.repair("repeated id", {"id": name}, {"id": new}))
        else:
            names = [examples[row].id for row in self.repeats]
            firsts = (f"the id {name!r} is at {self.places[self.rows[name]]} too" for name in names)
            bad = list(map(Record.bad, self.repeats.values(), repeat("repeated id"), firsts))
            if on_bad_record == "error":
                raise bad[0].among(Counter(one.kind for one in bad))
            read.bad += bad
            read.examples = [example for row, example in enumerate(examples) if row not in self.repeats]


def split_by_paragraph(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples, in file order: whole paragraphs, drawn until they hold `share` of all.

    Errors: UserError where there is one paragraph only.
    """
    contexts: dict[str, list[Example]] = {}
    for example in examples:
        contexts.setdefault(example.context, []).append(example)
    names, count = list(contexts), 0
    held_out: set[str] = set()
    for row in np.random.default_rng(seed).permutation(len(contexts)):
        if count >= share * len(examples) or len(held_out) == len(names) - 1:
            break
        context = names[row]
        held_out.add(context)
        count += len(contexts[context])
    train = [example for example in examples if example.context not in held_out]
    validation = [example for example in examples if example.context in held_out]
    if not (train and validation):
        why = "all questions but corrections are on one paragraph"
        raise UserError(f"data.validation_share={share}: {why}; give a validation_file")
    return train, validation


def _unique_across_files(paths: list[Path], per_file: list[list[Example]]) -> list[Example]:
    counts = Counter(example.id for examples in per_file for example in examples)
    result: dict[str, Example] = {}
    for path, examples in zip(paths, per_file, strict=False):
        name = stem(path)
        for example in examples:
            if counts[example.id] > 1:
                example = example.model_copy(update={"id": f"{name}/{example.id}"})
            if example.id in result:
                raise UserError(f"{path}: the id {example.id!r} is in another file of this name; rename one file")
            result[example.id] = example
    return list(result.values())
