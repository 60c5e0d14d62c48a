"""Records → examples: every record checked for what the stage needs, the bad ones named or counted."""

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np

from qa.console import track
from qa.data.example import Example
from qa.data.reading.checked import Examples, Need, check_record
from qa.data.reading.files import find_files, stem
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
    per_file: dict[Path, list[Example]] = {}
    read, left = Examples(), limit
    for path in paths:
        checked = check_records(read_records(path, columns), on_bad_record, left, need)
        report_assumed(path, checked)
        per_file[path] = with_languages(checked.examples, path, languages)
        read.bad += checked.bad
        read.repairs += checked.repairs
        read.unplaced += checked.unplaced
        left = None if left is None else left - len(checked.examples)
        if left == 0:
            if unread := paths[len(per_file) :]:
                log.warning("data.limit=%s is reached; not read: %s", limit, ", ".join(map(str, unread)))
            break
    counts = Counter(example.id for examples in per_file.values() for example in examples)
    if not counts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in read.skipped.items())
        note = f" (skipped: {kinds}, the first at {read.bad[0].problem})" if kinds else ""
        raise UserError(f"{', '.join(map(str, paths))}: no question in it{note}; give a file that holds some")
    for path, examples in per_file.items():
        if not examples:
            log.warning("%s: no question in it", path)
        name = stem(path)
        for example in examples:
            if counts[example.id] > 1:
                example = example.model_copy(update={"id": f"{name}/{example.id}"})
            if example.id in read.files:
                raise UserError(f"{path}: the id {example.id!r} is in another file of this name; rename one file")
            read.files[example.id] = path
            read.examples.append(example)
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
        self.places: list[tuple[str, str]] = []  # the place and the group of each example's record
        self.repeats: dict[int, Record] = {}

    def add(self, name: str, record: Record) -> None:
        row = len(self.places)
        self.places.append((record.place, record.group))
        if self.rows.setdefault(name, row) != row:
            self.repeats[row] = record._replace(fields={"id": name})

    def settle(self, read: Examples, on_bad_record: OnBadRecord, need: Need) -> None:
        """Makes ids that restart in every paragraph `<article>.<paragraph>/<id>`; renames or lists other repeated ones.

        Errors: BadRecord for a repeated id.
        """
        if not self.repeats:
            return
        examples = read.examples
        names = [f"{group}/{example.id}" for (_, group), example in zip(self.places, examples, strict=True)]
        if len({*names}) == len(examples) and len(self.repeats) > RESTARTS * len(examples):
            read.examples = [e.model_copy(update={"id": name}) for e, name in zip(examples, names, strict=True)]
            file = next(iter(self.repeats.values())).file
            log.warning("%s: ids restart in every paragraph; they are now such as %r", file, names[0])
            if on_bad_record == "repair":
                kind = "restarting id"
                read.repairs += [
                    {"file": file, "record": place, "kind": kind, "was": {"id": e.id}, "is": {"id": name}}
                    for (place, _), e, name in zip(self.places, examples, names, strict=True)
                ]
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
            bad = []
            for row, record in self.repeats.items():
                first, _ = self.places[self.rows[examples[row].id]]
                bad.append(record.bad("repeated id", f"the id {examples[row].id!r} is at {first} too"))
            if on_bad_record == "error":
                raise bad[0].among(Counter({"repeated id": len(bad)}))
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
    for row in np.random.default_rng(seed).permutation(len(names)):
        if count >= share * len(examples) or len(held_out) == len(names) - 1:
            break
        held_out.add(names[row])
        count += len(contexts[names[row]])
    train, validation = ([e for e in examples if (e.context in held_out) == is_held] for is_held in (False, True))
    if not (train and validation):
        why = "all questions but corrections are on one paragraph"
        raise UserError(f"data.validation_share={share}: {why}; give a validation_file")
    return train, validation
