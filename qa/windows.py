"""Examples → windows and labels: flat arrays, each distinct text tokenised once, cached and memory-mapped."""

import functools
import hashlib
import json
import logging
import math
import os
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

import numpy as np
import tokenizers
import torch
from filelock import FileLock
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from qa import first_line
from qa.examples import Example
from qa.progress import track
from qa.storage import new_file_mode, readable
from qa.tokenizer import backend, pair_template

log = logging.getLogger(__name__)

Ints = NDArray[np.int32]

FORMAT = "windows 2"
TAG = """Signature: 8a477f597d28d172789f06886806bc55
# Windows of tokenised questions, one file for every split, tokenizer, data.max_length and data.stride.
# They are made again where they are missing: to remove them costs time only. The signature keeps them out of backups.
"""


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
    start_positions: Ints  # [windows]: label, a position in the window; 0, the [CLS], where the answer is not whole
    end_positions: Ints  # [windows]
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


def cached_windows(
    path: Path,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    stride: int,
    limit: float = math.inf,
) -> Windows:
    """`build_windows`, or a memory map of what it gave before; `path` must be named by `fingerprint`.

    Where several processes want the same windows one builds them and the others wait. Of all files in the folder those
    that were used last stay, `limit` bytes of them. A folder that cannot be used is a warning, and each process has
    windows of its own.
    """
    if windows := _mapped(path, len(examples), tokenizer):
        return windows
    windows = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), mode=new_file_mode()):
            if windows := _mapped(path, len(examples), tokenizer):
                return windows
            windows = build_windows(examples, tokenizer, max_length, stride)
            what = {"questions": len(examples), "max_length": max_length, "stride": stride}
            _save(path, windows, {name: str(value) for name, value in what.items()})
            _prune(path, limit)
    except (OSError, SafetensorError) as error:
        _warn(path.parent, getattr(error, "strerror", None) or first_line(error))
    return _mapped(path, len(examples), tokenizer) or windows or build_windows(examples, tokenizer, max_length, stride)


def _save(path: Path, windows: Windows, metadata: dict[str, str]) -> None:
    """Writes the file under a temporary name that nobody can foresee, and marks the folder as a cache."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        arrays = {field.name: torch.from_numpy(getattr(windows, field.name)) for field in fields(Windows)}
        save_file(arrays, temporary, {**metadata, "checksum": _checksum(windows)})
        readable(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(FileExistsError), (path.parent / "CACHEDIR.TAG").open("x", encoding="utf-8") as file:
        file.write(TAG)


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    log.warning("data.cache_dir=%s: not used (%s); windows are made anew by each process of this run", folder, reason)


def _prune(path: Path, limit: float) -> None:
    """Removes the windows that were not used for longest until `limit` bytes are left; those of `path` stay."""
    files = {file: file.stat() for file in path.parent.glob("*.safetensors") if file != path}
    left = path.stat().st_size + sum(stat.st_size for stat in files.values())
    for file, stat in sorted(files.items(), key=lambda item: item[1].st_mtime):
        if left > limit:
            file.unlink()
            file.with_suffix(".lock").unlink(missing_ok=True)
            left -= stat.st_size


def _mapped(path: Path, questions: int, tokenizer: PreTrainedTokenizerFast) -> Windows | None:
    """A memory map of the file, which is marked as used; None where there is none to read, or a damaged one."""
    try:
        with suppress(OSError):
            os.utime(path)
        with safe_open(path, framework="pt") as file:
            windows = Windows(**{field.name: file.get_tensor(field.name).numpy() for field in fields(Windows)})
            if (file.metadata() or {}).get("checksum") != _checksum(windows):
                return None
    except (OSError, SafetensorError, KeyError):
        return None
    return windows if _consistent(windows, questions, max(tokenizer.get_vocab().values()) + 1) else None


def _consistent(windows: Windows, questions: int, vocabulary: int) -> bool:
    """Whether all numbers point to something that is there: a checksum is no proof of who wrote a file."""
    w, texts = windows, len(windows.text_bounds) - 1
    shapes: dict[str, tuple[int, ...]] = {
        "offsets": (len(w.token_ids), 2),
        **dict.fromkeys(("question", "context"), (questions,)),
        **dict.fromkeys(("begin", "length", "start_positions", "end_positions"), (len(w),)),
        "special_tokens": (3,),
    }
    if any(getattr(w, name).shape != shape for name, shape in shapes.items()):
        return False
    limits = ((w.token_ids, vocabulary), (w.question, texts), (w.context, texts), (w.example, questions))
    if any(len(array) and not 0 <= array.min() <= array.max() < limit for array, limit in limits):
        return False
    bounds = w.text_bounds
    if texts < 0 or bounds[0] != 0 or bounds[-1] != len(w.token_ids) or (np.diff(bounds) < 0).any():
        return False
    text = w.context[w.example]
    inside = (w.begin >= 0) & (w.length >= 0) & (w.begin + w.length <= bounds[text + 1] - bounds[text])
    labels = [(array >= 0) & (array < w.lengths()) for array in (w.start_positions, w.end_positions)]
    return bool(inside.all() and labels[0].all() and labels[1].all() and (w.special_tokens >= 0).all())


def _checksum(windows: Windows) -> str:
    arrays = (getattr(windows, field.name) for field in fields(Windows))
    return format(functools.reduce(lambda crc, array: zlib.crc32(array, crc), arrays, 0), "08x")


def fingerprint(
    examples: Sequence[Example], pretrained_tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int
) -> str:
    """Key of the cache: a hash of everything that the windows depend on."""
    tokenizer = backend(pretrained_tokenizer)
    texts, question, context = _distinct_texts(examples)
    labels = [(e.answers[0].answer_start, len(e.answers[0].text)) if e.answers else (-1, -1) for e in examples]
    rules = hashlib.blake2b(tokenizer.to_str().encode()).hexdigest()
    settings = [FORMAT, max_length, stride, rules, tokenizers.__version__]  # versions have changed offsets before
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
    for numbers in (question, context, np.array(labels, np.int32), np.fromiter(map(len, texts), np.int32)):
        digest.update(numbers.tobytes())
    digest.update("".join(texts).encode())
    return digest.hexdigest()


def _distinct_texts(examples: Sequence[Example]) -> tuple[list[str], Ints, Ints]:
    rows: dict[str, int] = {}
    question = [rows.setdefault(example.question, len(rows)) for example in examples]
    context = [rows.setdefault(example.context, len(rows)) for example in examples]
    return list(rows), np.array(question, np.int32), np.array(context, np.int32)


def build_windows(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int
) -> Windows:
    """Cuts examples into windows of at most `max_length` tokens, consecutive ones sharing `stride` context tokens.

    The label is the smallest run of tokens that covers the first answer, or (0, 0) where the window does not hold all
    of it. An example whose question leaves too little room for its context gets no window: see `without_room`.
    """
    texts, question, context = _distinct_texts(examples)
    token_ids, offsets, bounds = _tokenize(texts, backend(tokenizer))
    lengths = np.diff(bounds)
    special_tokens = np.array([len(part) for part in pair_template(tokenizer)[:3]], np.int32)
    room = max_length - special_tokens.sum() - lengths[question]
    size = lengths[context]
    step = room - stride
    fits = (room >= size) | (step > 0)
    further = np.where(room >= size, 0, -(-(size - room) // np.maximum(step, 1)))
    counts = np.where(fits, 1 + further, 0)

    example = np.repeat(np.arange(len(examples), dtype=np.int32), counts)
    first = np.cumsum(counts) - counts
    begin = (np.arange(len(example)) - first[example]) * step[example]
    length = np.minimum(room[example], size[example] - begin)

    answer = _answer_tokens(examples, texts, offsets, bounds, context)[example]
    whole = (answer[:, 0] >= begin) & (answer[:, 1] < begin + length) & (answer[:, 0] <= answer[:, 1])
    positions = answer - begin[:, None] + lengths[question[example]][:, None] + special_tokens[:2].sum()
    labels = np.where(whole[:, None], positions, 0).astype(np.int32)
    return Windows(
        token_ids,
        offsets,
        bounds,
        question,
        context,
        example,
        begin.astype(np.int32),
        length.astype(np.int32),
        np.ascontiguousarray(labels[:, 0]),
        np.ascontiguousarray(labels[:, 1]),
        special_tokens,
    )


def _tokenize(texts: Sequence[str], tokenizer: Tokenizer, chunk: int = 2048) -> tuple[Ints, Ints, Ints]:
    """Token ids [tokens], offsets [tokens, 2] and bounds [texts + 1] of all texts, one after another."""
    ids, offsets, lengths = [], [], []
    chunks = [texts[begin : begin + chunk] for begin in range(0, len(texts), chunk)]
    for part in track(chunks, "tokenising", total=len(chunks)):
        encodings = tokenizer.encode_batch(part, add_special_tokens=False)
        lengths += [len(encoding) for encoding in encodings]
        ids.append(np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32))
        flat = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
        offsets.append(np.fromiter(flat, np.int32).reshape(-1, 2))
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return np.concatenate(ids), np.concatenate(offsets), bounds


def _answer_tokens(
    examples: Sequence[Example], texts: Sequence[str], offsets: Ints, bounds: Ints, context: Ints
) -> NDArray[np.int64]:
    """First and last token of each first answer, counted from the context's first, [examples, 2].

    The last comes before the first where there is no answer, or none of its characters is in a token.
    """
    # characters counted through all texts, so that one binary search over all tokens serves every example
    base = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    through = offsets + np.repeat(base[:-1], np.diff(bounds))[:, None]
    spans = [(e.answers[0].answer_start, len(e.answers[0].text)) if e.answers else (0, 0) for e in examples]
    begin, size = np.array(spans, np.int64).T
    begin = begin + base[context]
    first = np.searchsorted(through[:, 1], begin, side="right") - bounds[context]
    last = np.searchsorted(through[:, 0], begin + size, side="left") - 1 - bounds[context]
    return np.stack([first, last], axis=1)


def without_room(windows: Windows) -> NDArray[np.int64]:
    """Examples that have no window, because their question leaves `stride` tokens or fewer for the context."""
    return np.setdiff1d(np.arange(len(windows.question)), windows.example)


def unlabelled(windows: Windows) -> int:
    """How many of the examples with a window have their first answer whole in none."""
    return int(len(np.unique(windows.example)) - len(np.unique(windows.example[windows.end_positions > 0])))
