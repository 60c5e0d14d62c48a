"""The text of a JSON file, read a value at a time."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

PIECE = 1 << 20  # characters that are read at once, at least
LARGEST_VALUE = 256 << 20  # characters of a value, which memory holds whole, at eleven times its size
LOOK_BACK = 64  # characters before a place, which say what is wrong there
TORN = 16  # characters before the end of a piece, where a word may be cut off
BLANKS = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


class JsonText:
    """Reads values one after another. Errors: OverflowError; json.JSONDecodeError, see `line_of`."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._file = text
        self._text, self._at = "", 0  # what was read and not forgotten, and the place in it
        self._lines = 0  # that were forgotten

    def peek(self) -> str:
        """The next character that is not blank, "" at the end; the place is before it."""
        while True:
            match = BLANKS.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, character: str) -> None:
        """Steps over a character that must be the next one."""
        if self.peek() != character:
            raise self.error("Extra data" if not character else f"Expecting {character!r} delimiter")
        self._at += len(character)

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) - TORN or not self._more():  # a number may go on
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                is_torn = error.msg.startswith("Unterminated") or error.pos >= len(self._text.rstrip()) - TORN
                if not is_torn or not self._more():
                    raise

    def members(self, begin: str, end: str) -> Iterator[None]:
        """Stops before each member of the list, or of the object, that is next."""
        self.take(begin)
        if self.peek() != end:
            yield
            while self.peek() != end:
                self.take(",")
                yield
        self.take(end)

    def error(self, message: str) -> json.JSONDecodeError:
        """The error at the place."""
        return json.JSONDecodeError(message, self._text, self._at)

    def line_of(self, error: json.JSONDecodeError) -> int:
        """The line of the file in which an error is."""
        return self._lines + error.lineno

    def _more(self) -> bool:
        """Reads on, at least as much as is in memory; False at the end of the file."""
        size = len(self._text) - self._at
        if size > LARGEST_VALUE:
            raise OverflowError(f"more than {LARGEST_VALUE >> 20} MiB of JSON in one value")
        piece = self._file.read(min(max(PIECE, size), LARGEST_VALUE + 1))
        if piece:
            forgotten = max(self._at - LOOK_BACK, 0)
            self._lines += self._text.count("\n", 0, forgotten)
            self._text = self._text[forgotten:] + piece
            self._at -= forgotten
        return bool(piece)
