"""Reads a command of Hugging Face's `run_qa.py`, as its own parser does."""

import argparse
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from qa.config.run_qa_flags import ALIASES, KIND, KNOWN
from qa.errors import UserError, first_line

YES, NO = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")
WISHES = {"int": "a whole number", "float": "a number", "_switch": "True or False"}  # by the name of an argument's type


class _Parser(argparse.ArgumentParser):
    """Reads the flags that it has as HfArgumentParser reads them, which is an argparse parser itself."""

    def __init__(self) -> None:
        super().__init__(add_help=False, argument_default=argparse.SUPPRESS)

    def add(self, name: str, *aliases: str, **kind: Any) -> None:
        spellings = (text.replace("_", sign) for text in (name, *aliases) for sign in "_-")
        self.add_argument(*dict.fromkeys(f"--{text}" for text in spellings), **{"dest": name, **kind})

    def error(self, message: str) -> NoReturn:
        line = re.sub(r"^argument (--\w+)\S*:", r"\1:", message)
        line = re.sub(r"invalid (\w+) value: (['\"])(.*)\2$", lambda m: f"should be {WISHES[m[1]]}, not {m[3]}", line)
        raise UserError(line)


def parse(words: Sequence[str]) -> dict[str, Any]:
    """{flag: value} of a command, of its flags alone, or of a JSON or YAML file of them; the launcher's flags too.

    Errors: UserError for flags that neither program knows, and for values of the wrong type.
    """
    flags: dict[str, Any] = {}
    if not words[0].startswith("-") and not _is_file(words):
        script = next((place for place, word in enumerate(words) if word.endswith(".py")), None)
        if script is None:
            raise UserError(f"{words[0]}: not understood; give the command with its run_qa.py, or its flags alone")
        flags, words = _launcher(words[:script]), words[script + 1 :]
    read, unknown = _run_qa().parse_known_args(_of_file(Path(words[0])) if _is_file(words) else words)
    if unknown:
        wrong = [word.partition("=")[0] for word in unknown if word.startswith("--")] or unknown
        raise UserError("; ".join(f"{word}: not known{_close(word)}" for word in wrong))
    return {**flags, **vars(read)}


def _run_qa() -> _Parser:
    parser = _Parser()
    kinds: dict[str | None, dict[str, Any]] = {
        "switch": {"nargs": "?", "const": True, "type": _switch},
        "on": {"nargs": "?", "const": True},
        "noted": {"nargs": "?", "const": True},
        "list": {"nargs": "+"},
        "whole": {"type": int},
        "real": {"type": float},
        None: {},
    }
    for name in sorted(KNOWN):
        parser.add(name, *(old for old, new in ALIASES.items() if new == name), **kinds[KIND.get(name)])
        if KIND.get(name) == "on":
            parser.add(f"no_{name}", action="store_false", dest=name)
    return parser


def _launcher(words: Sequence[str]) -> dict[str, Any]:
    parser = _Parser()
    parser.add("nproc_per_node", "num_gpus", type=int)
    for name in ("nnodes", "num_processes", "num_machines"):
        parser.add(name, type=int)
    parser.add("mixed_precision", choices=("no", "fp16", "bf16", "fp8"))
    read, others = parser.parse_known_args(words)
    flags = vars(read)
    if (machines := flags.pop("num_machines", 1)) > 1:
        flags["nnodes"] = machines
    if "num_processes" in flags:  # of all machines
        flags["nproc_per_node"] = flags.pop("num_processes") // max(machines, 1)
    if (precision := flags.get("mixed_precision")) in ("no", "fp16", "bf16"):
        flags |= {} if precision == "no" else {precision: True}
        del flags["mixed_precision"]
    return flags | {word[2:].partition("=")[0]: "" for word in others if word.startswith("--")}


def _is_file(words: Sequence[str]) -> bool:
    return len(words) == 1 and words[0].endswith((".json", ".yaml", ".yml"))


def _of_file(path: Path) -> Iterator[str]:
    """The words that mean what a file of flags says."""
    try:
        text = path.read_text(encoding="utf-8")
        flags = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {first_line(error)}") from None
    if not isinstance(flags, dict):
        raise UserError(f"{path}: should be an object of flags and their values")
    for name, value in flags.items():
        if isinstance(value, list):
            yield from [f"--{name}", *map(str, value)]
        elif value is not None:
            yield f"--{name}={json.dumps(value) if isinstance(value, dict) else value}"


def _switch(text: str) -> bool:
    if (word := text.lower()) not in (*YES, *NO):
        raise ValueError(text)
    return word in YES


def _close(word: str) -> str:
    close = difflib.get_close_matches(word[2:].replace("-", "_"), [*KNOWN, *ALIASES], n=1, cutoff=0.8)
    return f"; did you mean --{close[0]}?" if close else ""
