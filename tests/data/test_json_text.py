"""JSON that is read a piece at a time is what `json.loads` makes of the whole, mistakes included."""

import io
import json
import random
from typing import Any

import pytest

from qa.data.reading import json_text
from qa.data.reading.json_text import JsonText

SOME: list[Any] = [
    1,
    -1.5e7,
    12345678901234567890,
    True,
    None,
    "a",
    'x\ny"',
    "\u2028 ü 😀",
    {"a": [1, None]},
    [],
    {"": {}},
]


def read(text: str) -> list[Any] | int:
    """The values of a list, or the line of the mistake."""
    source = JsonText(io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", newline=""))
    try:
        values = [source.value() for _ in source.members("[", "]")]
        source.take("")
    except json.JSONDecodeError as error:
        return source.line_of(error)
    return values


def test_json_in_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    for _ in range(2000):
        text = json.dumps(draw.choices(SOME, k=draw.randint(0, 5)), indent=draw.choice([None, 1]))
        if draw.random() < 0.7:
            begin = draw.randint(1, len(text))
            text = text[:begin] + "".join(draw.choices(',]}":x\n ', k=draw.randint(0, 3))) + text[begin + 1 :]
        monkeypatch.setattr(json_text, "PIECE", draw.randint(1, 40))
        try:
            wanted = [json.loads(text)]
        except json.JSONDecodeError as error:
            wanted = [error.lineno]
            if "trailing comma" in error.msg:  # whose line Python names since 3.13, not that of what follows
                rest = text[error.pos + 1 :]
                wanted.append(error.lineno + rest[: len(rest) - len(rest.lstrip())].count("\n"))
        assert read(text) in wanted, text
