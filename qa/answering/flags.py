"""Flags that several doors share: the options of `AnswerOptions`, and the names of fields in a file of questions."""

import argparse
import json
from collections.abc import Sequence
from typing import Any, cast

from qa.answering.options import AnswerOptions, Options
from qa.data.reading.record import Columns
from qa.errors import Flags, UserError

HELP = {
    "top_k": "how many answers of each question; default: 1",
    "read_texts": "how many of several texts are read, the best by BM25; null: all; default: 5",
    "min_probability": "leaves less probable answers out",
    "max_error": "gives only answers of which at most this share is wrong, such as 0.2; needs qa.calibrate",
    "max_answer_length": "in tokens",
    "handle_impossible_answer": "true or false: whether there may be no answer; default: as in training",
    "whole_words": "true: an answer never begins or ends inside a word or a number",
    "overlap_threshold": "share of an answer that a better one may have; default: 0.5",
    "language": "code of the questions, whose calibration is taken; default: by the name of the file",
    "batch_size": "windows at a time; default: auto",
}


def add_options(parser: Flags) -> None:
    """Adds a flag for each option."""
    for name, about in HELP.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=_value, default=argparse.SUPPRESS, help=about)


def read_options(arguments: argparse.Namespace) -> AnswerOptions:
    """The options that the flags give. Errors: UserError."""
    options = {name: value for name, value in vars(arguments).items() if name in HELP}
    return cast(AnswerOptions, Options.check(options).model_dump(exclude_unset=True))


def _value(word: str) -> Any:
    """A number, true, false or null, or else the word."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def add_column(parser: Flags) -> None:
    """Adds `--column KEY=NAME`, which may be given several times."""
    about = f"the file's name of a field; KEY: {', '.join(Columns.model_fields)}; several times"
    parser.add_argument("--column", action="append", default=[], metavar="KEY=NAME", help=about)


def read_columns(words: Sequence[str]) -> Columns:
    """The columns that the flags name. Errors: UserError."""
    names: dict[str, str] = {}
    for word in words:
        key, _, name = word.partition("=")
        if not name or key not in Columns.model_fields or key in names:
            keys = ", ".join(Columns.model_fields)
            raise UserError(f"--column {word}: give KEY=NAME, each KEY once; the keys are {keys}")
        names[key] = name
    return Columns.model_validate(names)
