"""Texts that are nearly the same, found without a comparison of each with each."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from zlib import crc32

import regex

from qa.console import track

if TYPE_CHECKING:
    from datasketch import MinHash

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"  # scripts
TERM = regex.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
NEAR_SHARE = 0.7  # share of triples of words from which two texts are nearly the same
CANDIDATE_SHARE, HASHES = 0.55, 64  # the share from which MinHash is to find them, and its hashes of a text
MOST_COMPARED = 50  # of the texts that it finds


def near_duplicates(texts: Sequence[str], others: Sequence[str] | None = None) -> Iterator[tuple[str, str, float]]:
    """Yields (a text, one before it that is like it, the share that both have), if that is NEAR_SHARE or more.

    `others`: compares with these instead. The share is of triples of words, without regard to case and punctuation.
    """
    from datasketch import MinHashLSH  # which answering does without

    known = texts if others is None else others
    if not known:
        return
    index = MinHashLSH(threshold=CANDIDATE_SHARE, num_perm=HASHES)
    kept = {row: _hashes(text) for row, text in enumerate(others or []) if _triples(text)}
    for row, hashes in kept.items():
        index.insert(row, hashes)
    for row, text in enumerate(track(texts, "comparing contexts", total=len(texts))):
        if not _triples(text):
            continue
        hashes = _hashes(text)
        candidates = sorted((-hashes.jaccard(kept[place]), place) for place in index.query(hashes))[:MOST_COMPARED]
        share, place = max(((_share(text, known[place]), -place) for _, place in candidates), default=(0.0, 0))
        if share >= NEAR_SHARE:
            yield text, known[-place], share
        elif others is None:  # of texts that are all alike the first one is enough
            kept[row] = hashes
            index.insert(row, hashes)


def terms_of(text: str) -> list[str]:
    """The words of a text; its characters in scripts that have no spaces between words."""
    terms: list[str] = TERM.findall(text)
    return terms


def _hashes(text: str) -> "MinHash":
    from datasketch import MinHash

    hashes = MinHash(HASHES, hashfunc=crc32)
    hashes.update_batch([" ".join(triple).encode() for triple in _triples(text)])
    return hashes


@lru_cache(128)
def _triples(text: str) -> frozenset[tuple[str, ...]]:
    terms = terms_of(text.lower())
    return frozenset(zip(terms, terms[1:], terms[2:], strict=False)) or frozenset([tuple(terms)][: len(terms)])


def _share(one: str, other: str) -> float:
    triples, others = _triples(one), _triples(other)
    return len(triples & others) / len(triples | others)
