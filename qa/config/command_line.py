"""Commands of train.py in Hydra's grammar."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PLAIN_WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_./:+-]*")
NOT_TEXT = {"true", "false", "null", "inf", "nan"}  # to Hydra, in any case


def command(overrides: Sequence[str], folder: str) -> list[str]:
    """The words that run one job of train.py with these overrides in `folder`."""
    train = Path(__file__).parent.parent.parent / "train.py"
    return [sys.executable, str(train), *overrides, f"hydra.run.dir={quoted(folder)}", "hydra.mode=RUN"]


def quoted(value: Any) -> str:
    """A value as Hydra's grammar takes it: text in quotes where it would be read as anything but this very text."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(quoted, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{quoted(child)}" for key, child in value.items()) + "}"
    if not isinstance(value, str):
        return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")
    if PLAIN_WORD.fullmatch(value) and value.lower() not in NOT_TEXT:
        return value
    # a backslash is itself except before a quote
    return '"' + re.sub(r'(\\*)("|\Z)', lambda match: match[1] * 2 + (match[2] and '\\"'), value) + '"'
