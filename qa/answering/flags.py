"""The flags of `qa.answer` that say how to answer: those of `AnswerOptions`."""

import argparse
import json
from typing import Any, cast

from qa.answering.options import AnswerOptions, Options
from qa.errors import Flags

HELP = {
    "top_k": "how many answers of each question; default: 1",
    "read_texts": "how many of several texts are read, the best by BM25; default: 5",
    "min_probability": "leaves less probable answers out",
    "max_answer_length": "in tokens",
    "handle_impossible_answer": "true or false: whether there may be no answer; default: as in training",
    "overlap_threshold": "share of an answer that a better one may have; default: 0.5",
    "language": "code of the questions, whose calibration is taken; default: by the name of the file",
    "batch_size": "windows at a time; default: auto",
}


def add_options(parser: Flags) -> None:
    """Adds a flag for each option."""
    for name, about in HELP.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=_value, help=about)


def read_options(arguments: argparse.Namespace) -> AnswerOptions:
    """The options that the flags give. Errors: UserError."""
    given = {name: value for name in HELP if (value := getattr(arguments, name)) is not None}
    return cast(AnswerOptions, Options.check(given).model_dump(exclude_unset=True))


def _value(word: str) -> Any:
    """A number, true or false, or else the word."""
    try:
        return json.loads(word)
    except ValueError:
        return word
