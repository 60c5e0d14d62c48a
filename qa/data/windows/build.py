"""Examples → windows and labels: flat arrays, each distinct text tokenised once, cached and memory-mapped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from qa.console import track
from qa.data.arrays import Ints
from qa.data.example import Example
from qa.data.windows.combining_marks import with_marks
from qa.data.windows.long_texts import LONG_TEXT, tokenize_long
from qa.data.windows.tokenizer import backend, pair_template


@dataclass(frozen=True)
class Windows:
    """All windows of one split.

    Text t (a question or a context) owns the tokens `text_bounds[t]:text_bounds[t + 1]`. A window is special tokens,
    the question, special tokens, `length` tokens of the context from its token `begin` on, special tokens; BERT's are
    [CLS], [SEP] and [SEP].
    """

    token_ids: Ints  # [tokens]
    offsets: Ints  # [tokens, 2]: characters of the text, end-exclusive
    text_bounds: Ints  # [texts + 1]
    question: Ints  # [examples]: text of each example's question
    context: Ints  # [examples]: text of each example's context
    example: Ints  # [windows]: ascending; an example without room for its context has no window
    begin: Ints  # [windows]: first context token in the window, counted from the context's first
    length: Ints  # [windows]: context tokens in the window
    # [windows] each: the label, positions in the window; 0, the [CLS], where the answer is not whole
    start_positions: Ints
    end_positions: Ints
    special_tokens: Ints  # [3]: how many there are before the question, between, and after the context

    def __len__(self) -> int:
        return len(self.example)

    def question_lengths(self, rows: NDArray[np.int64] | slice = slice(None)) -> Ints:
        """Tokens of the question of each of these windows, [rows]."""
        text = self.question[self.example[rows]]
        return self.text_bounds[text + 1] - self.text_bounds[text]

    def lengths(self) -> Ints:
        """Tokens of each window, special ones included, [windows]."""
        return self.question_lengths() + self.length + np.int32(self.special_tokens.sum())


def distinct_texts(examples: Sequence[Example]) -> tuple[list[str], Ints, Ints]:
    rows: dict[str, int] = {}
    question = [rows.setdefault(example.question, len(rows)) for example in examples]
    context = [rows.setdefault(example.context, len(rows)) for example in examples]
    return list(rows), np.array(question, np.int32), np.array(context, np.int32)


def build_windows(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int
) -> Windows:
    """Cuts examples into windows of at most `max_length` tokens, consecutive ones sharing `stride` context tokens.

    The label is the smallest run of tokens that covers the first answer, or (0, 0) where the window does not hold all
    of it. Where the question leaves too little room for the context, an example gets no window: see `without_room`.

    A question of 8 tokens, a context of 20, max_length 24, stride 4: room for 24 - 3 - 8 = 13 context tokens, so the
    windows hold the context's tokens 0 to 12 and 9 to 19.
    """
    texts, question, context = distinct_texts(examples)
    token_ids, offsets, bounds = _tokenize(texts, backend(tokenizer))
    offsets = with_marks(texts, offsets, bounds)
    lengths = np.diff(bounds)  # [texts]
    special_tokens = np.array([len(part) for part in pair_template(tokenizer)[:3]], np.int32)
    room = max_length - special_tokens.sum() - lengths[question]  # [examples]: context tokens of a window
    size = lengths[context]  # [examples]
    step = room - stride
    fits = (room >= size) | (step > 0)
    further = np.where(room >= size, 0, -(-(size - room) // np.maximum(step, 1)))
    counts = np.where(fits, 1 + further, 0)  # [examples]: windows

    example = np.repeat(np.arange(len(examples), dtype=np.int32), counts)  # [windows]
    first = np.cumsum(counts) - counts
    begin = (np.arange(len(example)) - first[example]) * step[example]  # [windows]
    length = np.minimum(room[example], size[example] - begin)  # [windows]
    is_last = np.append(example[1:] != example[:-1], True)
    assert (np.where(is_last, size[example], np.roll(begin, -1)) <= begin + length).all(), "tokens that no window has"

    none = np.zeros(len(example), np.int32)
    begin, length = begin.astype(np.int32), length.astype(np.int32)
    windows = Windows(token_ids, offsets, bounds, question, context, example, begin, length, none, none, special_tokens)
    starts, ends = label_positions(windows, texts, [example.label for example in examples])
    return replace(windows, start_positions=starts, end_positions=ends)


def _tokenize(texts: Sequence[str], tokenizer: Tokenizer, chunk: int = 2048) -> tuple[Ints, Ints, Ints]:
    """Token ids [tokens], offsets [tokens, 2] and bounds [texts + 1] of all texts, one after another."""
    ids, offsets, lengths = [], [], []
    chunks = _chunks(texts, chunk)
    for part in track(chunks, "tokenising", total=len(chunks)):
        if len(part[0]) > LONG_TEXT and (tokens := tokenize_long(part[0], tokenizer)):
            ids.append(tokens[0])
            offsets.append(tokens[1])
            lengths.append(len(tokens[0]))
            continue
        encodings = tokenizer.encode_batch(part, add_special_tokens=False)
        lengths += [len(encoding) for encoding in encodings]
        ids.append(np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32))
        flat = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
        offsets.append(np.fromiter(flat, np.int32).reshape(-1, 2))
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return np.concatenate(ids), np.concatenate(offsets), bounds


def _chunks(texts: Sequence[str], most: int) -> list[Sequence[str]]:
    """Up to `most` texts that follow one another, and each long text alone."""
    long = [row for row, text in enumerate(texts) if len(text) > LONG_TEXT]
    edges = sorted({*range(0, len(texts), most), *long, *(row + 1 for row in long), len(texts)})
    return [texts[begin:end] for begin, end in pairwise(edges)]


def label_positions(
    windows: Windows, texts: Sequence[str], spans: Sequence[tuple[int, int] | None]
) -> tuple[Ints, Ints]:
    """First and last token of the span of each window's example, positions in the window, [windows] each.

    They are the smallest run of tokens that covers the span, or 0, the [CLS], where there is no span, the window does
    not hold all of it, or none of its characters is in a token. `texts`: of `distinct_texts`; `spans`: [examples],
    first character of the context and end, exclusive.
    """
    w, bounds, context = windows, windows.text_bounds, windows.context
    # characters counted through all texts, so that one binary search over all tokens serves every example
    base = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    through = w.offsets + np.repeat(base[:-1], np.diff(bounds))[:, None]
    begin, end = np.array([span or (0, 0) for span in spans], np.int64).reshape(-1, 2).T + base[context]
    first = (np.searchsorted(through[:, 1], begin, side="right") - bounds[context])[w.example]  # [windows]
    last = (np.searchsorted(through[:, 0], end, side="left") - 1 - bounds[context])[w.example]
    whole = (first >= w.begin) & (last < w.begin + w.length) & (first <= last)
    before = w.question_lengths() + w.special_tokens[:2].sum() - w.begin
    starts, ends = (np.where(whole, place + before, 0).astype(np.int32) for place in (first, last))
    return starts, ends


def without_room(windows: Windows) -> NDArray[np.int64]:
    """Examples that have no window, because their question leaves `stride` tokens or fewer for the context."""
    return np.setdiff1d(np.arange(len(windows.question)), windows.example)
