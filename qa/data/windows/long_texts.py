"""A long text tokenised piece by piece: the tokenizer needs 600 bytes a token while it works."""

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from tokenizers import Tokenizer

from qa.data.arrays import Ints

LONG_TEXT = 200_000  # characters; longer texts are taken in pieces
PIECE_LENGTH = 100_000  # characters, about
BESIDE = 2_000  # characters beyond a piece, to be compared with the next one's
LAST = 20  # tokens at the end of that, where a word may have been cut
# white space behind a word, or the place after a mark of a script without it
BREAK = re.compile(r"(?<=\S)\s|(?<=[。！？；，、।۔])")


def tokenize_long(text: str, tokenizer: Tokenizer) -> tuple[Ints, Ints] | None:
    """Token ids [tokens] and offsets [tokens, 2] of a text; None where pieces give other tokens than the whole might.

    Pieces begin between two words or sentences. Each reaches a little beyond its end, and there must give the
    tokens that the next one gives.
    """
    cuts = list(_cuts(text))
    all_ids, all_offsets = [], []
    before: tuple[Ints, Ints] | None = None  # the tokens of the piece before beyond its end
    ended = False  # whether they went to the end of the text
    for begin, end in pairwise(cuts):
        encoding = tokenizer.encode(text[begin : end + BESIDE], add_special_tokens=False)
        ids = np.array(encoding.ids, np.int32)
        offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2) + np.int32(begin)
        inside = int(np.searchsorted(offsets[:, 1], end, side="right"))
        if before is not None and not _agree(before, (ids, offsets), ended):
            return None
        ended = end + BESIDE >= len(text)
        before = ids[inside:], offsets[inside:]
        all_ids.append(ids[:inside])
        all_offsets.append(offsets[:inside])
    return np.concatenate(all_ids), np.concatenate(all_offsets)


def _cuts(text: str) -> Iterator[int]:
    """0, the begins of further pieces, and the text's length."""
    place = 0
    while place < len(text):
        yield place
        match = BREAK.search(text, place + PIECE_LENGTH)
        place = match.start() if match else len(text)
    yield len(text)


def _agree(beyond: tuple[Ints, Ints], piece: tuple[Ints, Ints], ended: bool) -> bool:
    """Whether a piece begins with the tokens that the one before found there; a word that was cut does not count."""
    count = len(beyond[0]) - (0 if ended else LAST)
    same = all(np.array_equal(one[:count], other[:count]) for one, other in zip(beyond, piece, strict=True))
    return same and (ended or count > 0)
