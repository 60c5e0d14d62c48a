"""Combining characters that belong to no token, as where a tokenizer strips accents."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qa.data.arrays import Ints

FIRST_MARK = 0x300  # code of the first mark
MARKS = {"Mn", "Mc", "Me"}  # of Unicode's categories
JOINERS = {0x200C, 0x200D}  # part of a word in Indic scripts, in Arabic and in emoji


def with_marks(texts: Sequence[str], offsets: Ints, bounds: Ints) -> Ints:
    """The offsets, each end moved on over the combining characters behind the token that no other token owns.

    `offsets`: int32 [tokens, 2], of one text after another; `bounds`: [texts + 1]. A tokenizer that strips accents
    gives "की" the offsets of "क" alone, and a text that is cut there is another word.
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    if not _are_marks(codes[codes >= FIRST_MARK]).any():
        return offsets
    tokens = np.diff(bounds)  # [texts]
    stops = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))  # [texts]
    begin = np.repeat(np.append(0, stops[:-1]), tokens)  # [tokens]
    end = offsets[:, 1] + begin
    room = np.append(offsets[1:, 0] + begin[1:], 0)  # [tokens]: where the next token begins; of a text's last, its end
    room[bounds[1:][tokens > 0] - 1] = stops[tokens > 0]
    rows = np.flatnonzero(end < room)
    rows = rows[codes[end[rows]] >= FIRST_MARK]
    before = end.copy()
    while len(rows):
        rows = rows[_are_marks(codes[end[rows]])]
        end[rows] += 1
        rows = rows[end[rows] < room[rows]]
    # several tokens of one character, such as a space and a letter, have the same offsets
    alike = (before[:-1] == before[1:]) & (begin[:-1] == begin[1:])
    while len(rows := np.flatnonzero(alike & (end[:-1] < end[1:]))):
        end[rows] = end[rows + 1]
    return np.stack([offsets[:, 0], end - begin], axis=1).astype(np.int32)


def _are_marks(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    distinct, places = np.unique(codes, return_inverse=True)
    marks = [code in JOINERS or unicodedata.category(chr(code)) in MARKS for code in distinct.tolist()]
    return np.array(marks, bool)[places]
