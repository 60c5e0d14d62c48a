"""Windows on disk: found again by content, tokenizer and lengths, and memory-mapped."""

import functools
import hashlib
import json
import logging
import math
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
import tokenizers
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from qa.data.example import Example
from qa.data.windows.build import Windows, build_windows, distinct_texts
from qa.data.windows.tokenizer import backend
from qa.errors import first_line
from qa.storage import new_file_mode, readable, temporary_name

log = logging.getLogger(__name__)

FORMAT = "windows 3"
TAG = """Signature: 8a477f597d28d172789f06886806bc55
# Windows of tokenised questions, one file for every split, tokenizer, data.max_length and data.stride.
# They are made again where they are missing: to remove them costs time only. The signature keeps them out of backups.
"""


def cached_windows(
    path: Path,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    stride: int,
    limit: float = math.inf,
) -> Windows:
    """The windows of `build_windows`, or a memory map of earlier ones; `path` must be named by `fingerprint`.

    Where several processes want the same windows one builds them and the others wait. Of all files in the folder the
    most recently used stay, `limit` bytes of them. A folder that cannot be used is a warning, and each process builds
    its own windows.
    """
    if windows := _mapped(path, len(examples), tokenizer):
        return windows
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), mode=new_file_mode()):
            if windows := _mapped(path, len(examples), tokenizer):
                return windows
            windows = build_windows(examples, tokenizer, max_length, stride)
            metadata = {"questions": len(examples), "max_length": max_length, "stride": stride}
            _save(path, windows, {name: str(value) for name, value in metadata.items()})
            _prune(path, limit)
    except (OSError, SafetensorError) as error:
        _warn(path.parent, getattr(error, "strerror", None) or first_line(error))
    return _mapped(path, len(examples), tokenizer) or windows or build_windows(examples, tokenizer, max_length, stride)


def _save(path: Path, windows: Windows, metadata: dict[str, str]) -> None:
    """Writes the file, and marks the folder as a cache."""
    with temporary_name(path) as temporary:
        arrays = {field.name: torch.from_numpy(getattr(windows, field.name)) for field in fields(Windows)}
        save_file(arrays, temporary, {**metadata, "checksum": _checksum(windows)})
        readable(temporary)
        temporary.replace(path)
    with suppress(FileExistsError), (path.parent / "CACHEDIR.TAG").open("x", encoding="utf-8") as file:
        file.write(TAG)


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    log.warning("data.cache_dir=%s: not used (%s); each process of this run builds its own", folder, reason)


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
    """Whether all numbers point to places within the arrays: a checksum does not prove who wrote a file."""
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
    """The key of the cache: a hash of everything that decides about the windows."""
    tokenizer = backend(pretrained_tokenizer)
    texts, question, context = distinct_texts(examples)
    labels = [example.label or (-1, -1) for example in examples]
    rules = hashlib.blake2b(tokenizer.to_str().encode()).hexdigest()
    settings = [FORMAT, max_length, stride, rules, tokenizers.__version__]  # versions have changed offsets before
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
    for numbers in (question, context, np.array(labels, np.int32), np.fromiter(map(len, texts), np.int32)):
        digest.update(numbers.tobytes())
    digest.update("".join(texts).encode())
    return digest.hexdigest()
