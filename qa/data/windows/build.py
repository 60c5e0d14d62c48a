"""Examples → windows and labels: flat arrays, each distinct text tokenised once, cached and memory-mapped."""

from collections.abc import Sequence
from dataclasses import dataclass
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

    answer = _answer_tokens(examples, texts, offsets, bounds, context)[example]  # [windows, 2]
    whole = (answer[:, 0] >= begin) & (answer[:, 1] < begin + length) & (answer[:, 0] <= answer[:, 1])
    positions = answer - begin[:, None] + lengths[question[example]][:, None] + special_tokens[:2].sum()
    labels = np.where(whole[:, None], positions, 0)
    begins, sizes, firsts, lasts = (np.ascontiguousarray(part, np.int32) for part in (begin, length, *labels.T))
    return Windows(token_ids, offsets, bounds, question, context, example, begins, sizes, firsts, lasts, special_tokens)


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


def _answer_tokens(
    examples: Sequence[Example], texts: Sequence[str], offsets: Ints, bounds: Ints, context: Ints
) -> NDArray[np.int64]:
    """First and last token of each first answer, counted from the context's first, [examples, 2].

    The last comes before the first where there is no answer, or none of its characters is in a token.
    """
    # characters counted through all texts, so that one binary search over all tokens serves every example
    base = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    through = offsets + np.repeat(base[:-1], np.diff(bounds))[:, None]
    spans = [example.label or (0, 0) for example in examples]
    begin, end = np.array(spans, np.int64).T + base[context]
    first = np.searchsorted(through[:, 1], begin, side="right") - bounds[context]
    last = np.searchsorted(through[:, 0], end, side="left") - 1 - bounds[context]
    return np.stack([first, last], axis=1)


def without_room(windows: Windows) -> NDArray[np.int64]:
    """Examples that have no window, because their question leaves `stride` tokens or fewer for the context."""
    return np.setdiff1d(np.arange(len(windows.question)), windows.example)


def unlabelled(windows: Windows) -> int:
    """The number of examples that have windows, but none with the whole first answer."""
    return int(len(np.unique(windows.example)) - len(np.unique(windows.example[windows.end_positions > 0])))
