"""What a file of questions holds and what is wrong with it, for a terminal."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from qa.data.example import Example
from qa.data.quality.inspection import LISTED, Fault, Finding, by_kind
from qa.data.quality.near_duplicates import terms_of
from qa.data.reading.languages import language_of, with_languages
from qa.review.terminal import plain_table
from qa.runs.results_table import counted

PLACES_SHOWN = 3  # of a finding
LENGTH_HEADINGS = ("Length", "Median", "95% up to", "Longest")


class InTokens(NamedTuple):
    """A file's questions as a model reads them: lines of the summary, rows of LENGTH_HEADINGS, and faults."""

    lines: dict[str, str]
    lengths: list[list[str]]
    findings: list[Finding]


def in_tokens(examples: Sequence[Example], pretrained: str | None) -> InTokens:
    """Lengths, windows and ceiling by a model's tokenizer and lengths; nothing without a model. Errors: UserError."""
    if not (pretrained and examples):
        return InTokens({}, [], [])
    from qa.data.windows.build import build_windows, without_room
    from qa.data.windows.tokenizer import check_lengths, load_tokenizer  # needs torch
    from qa.evaluation.ceiling import ceiling
    from qa.model.answering import Answering

    model, tokenizer = Answering.load(pretrained), load_tokenizer(pretrained)
    check_lengths(tokenizer, model.max_length, model.stride)
    windows = build_windows(examples, tokenizer, model.max_length, model.stride)
    labels = np.flatnonzero(windows.end_positions > 0)
    whole, first = np.unique(windows.example[labels], return_index=True)  # examples whose answer a window holds
    answers = (windows.end_positions - windows.start_positions + 1)[labels[first]]
    no_room = without_room(windows)
    answered = [row for row, example in enumerate(examples) if example.answers]
    torn = np.setdiff1d(answered, np.concatenate([whole, no_room]))
    longest = model.max_answer_length
    kinds = {
        f"question too long for windows of {model.max_length} tokens": no_room,
        "answer that is whole in no window": torn,
        f"answer of more than {longest} tokens, which is never predicted": whole[answers > longest],
    }
    faults: list[Fault] = [(kind, f"id {examples[row].id!r}") for kind, rows in kinds.items() for row in rows.tolist()]
    lines = {"windows": f"{len(windows):,} of at most {model.max_length} tokens, which share {model.stride}"}
    if best := ceiling(examples, windows, longest):
        lines["ceiling"] = (
            f"EM {best.exact_match:.2f}, F1 {best.f1:.2f} at most, with answers of up to {longest} tokens"
        )
    sizes = np.diff(windows.text_bounds)
    lengths = {"contexts": sizes[np.unique(windows.context)], "questions": sizes[windows.question], "answers": answers}
    rows = [length_row(f"{name}, tokens", values.tolist()) for name, values in lengths.items()]
    return InTokens(lines, rows, by_kind(faults, (len(examples), "question"), LISTED))


def data_report(file: Path, examples: Sequence[Example], kinds: Sequence[Finding], tokens: InTokens) -> RenderableType:
    """The contents of a file, the lengths of its texts, and its faults, each kind with its first places."""
    parts: list[RenderableType] = [Text(str(file), style="bold")]
    if examples:
        lines = {**described(file, examples), **tokens.lines}
        parts += [Text.assemble((f"{name:<11}", "bold"), line) for name, line in lines.items()]
        parts += ["", plain_table(LENGTH_HEADINGS, [*length_rows(examples), *tokens.lengths])]
    else:
        parts += [Text("no question that can be used")]
    return Group(*parts, *([*map(in_words, kinds)] or [Text("\nnothing wrong")]), "")


def described(file: Path, examples: Sequence[Example]) -> dict[str, str]:
    """The contents of a file, by name of the line."""
    articles = len({example.title for example in examples if example.title})
    contexts = len({example.context for example in examples})
    of = f", of {counted(articles, 'article')}" if articles else ""
    unanswerable = sum(example.is_impossible for example in examples)
    without = f", {unanswerable:,} of them without an answer" if unanswerable else ""
    named = with_languages(examples, file)
    languages = Counter(example.language or "not known" for example in named)
    is_told = language_of(file) or all(e.language == now.language for e, now in zip(examples, named, strict=True))
    return {
        "questions": f"{len(examples):,}{without}",
        "contexts": f"{contexts:,}{of}",
        "languages": ", ".join(f"{code} ({count:,})" for code, count in languages.most_common())
        + ("" if is_told else ", recognised from the texts"),
    }


def length_rows(examples: Sequence[Example]) -> list[list[str]]:
    """Rows of LENGTH_HEADINGS: characters and words of contexts, questions and first answers."""
    texts = {
        "contexts": list({example.context for example in examples}),
        "questions": [example.question for example in examples],
        "answers": [example.answers[0].text for example in examples if example.answers],
    }
    units: dict[str, Callable[[str], int]] = {"characters": len, "words": lambda text: len(terms_of(text))}
    return [
        length_row(f"{name}, {unit}", [*map(count, group)])
        for name, group in texts.items()
        for unit, count in units.items()
    ]


def length_row(name: str, lengths: Sequence[int]) -> list[str]:
    """A row of LENGTH_HEADINGS."""
    if not lengths:
        return [name, "–", "–", "–"]
    middle, most = np.quantile(lengths, (0.5, 0.95), method="higher").tolist()
    return [name, f"{middle:,}", f"{most:,}", f"{max(lengths):,}"]


def in_words(finding: Finding) -> RenderableType:
    """A finding with its count, its share and its first places, a line for each."""
    count, (total, noun) = len(finding.places), finding.of
    total = max(total, count)  # faults of references, and of records that cannot be used, may be more
    share = f"{count / total:.1%}"
    if count < total and (count / total < 0.0005 or share == "100.0%"):
        share = "under 0.1%" if count / total < 0.5 else "over 99.9%"
    head = f"\n{finding.kind}: {count:,} of {counted(total, noun)} ({share}), {finding.fix}"
    more = [f"and {count - PLACES_SHOWN:,} more"] if count > PLACES_SHOWN else []
    places = Text("\n".join([*finding.places[:PLACES_SHOWN], *more]))
    return Group(Text(head), Padding(places, (0, 0, 0, 3), expand=False))
