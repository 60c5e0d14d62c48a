"""Questions and windows the usual way: an Arrow file, and `Dataset.map` with every window padded to its full length."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerFast

MAX_LENGTH, STRIDE = 384, 128
Columns = dict[str, list[Any]]


def load(file: str, cache: Path) -> Dataset:
    """The questions of a SQuAD file in the columns that SQuAD has on the Hub; kept in `cache` as an Arrow file."""
    return Dataset.from_generator(_rows, gen_kwargs={"file": file}, cache_dir=str(cache))


def _rows(file: str) -> Iterator[dict[str, Any]]:
    for article in json.loads(Path(file).read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = {key: [answer[key] for answer in question["answers"]] for key in ("text", "answer_start")}
                row = {"id": question["id"], "title": article.get("title"), "context": paragraph["context"]}
                yield {**row, "question": question["question"], "answers": answers}


def cut(tokenizer: PreTrainedTokenizerFast, questions: Any, contexts: Any, **more: Any) -> Any:
    """All windows of one question or of several, padded."""
    return tokenizer(
        questions, contexts, truncation="only_second", max_length=MAX_LENGTH, stride=STRIDE, padding="max_length",
        return_overflowing_tokens=True, return_offsets_mapping=True, **more,
    )  # fmt: skip


def training_windows(data: Dataset, tokenizer: PreTrainedTokenizerFast, **more: Any) -> Dataset:
    """A row for each window: `input_ids`, `attention_mask`, `token_type_ids`, `start_positions`, `end_positions`.

    `more`: what `Dataset.map` takes about its cache.
    """
    tokenizer.backend_tokenizer.no_truncation()  # a call leaves its settings there, and the cache is found by them
    tokenizer.backend_tokenizer.no_padding()
    kept = {"tokenizer": tokenizer}
    return data.map(_labelled, batched=True, remove_columns=data.column_names, fn_kwargs=kept, **more)


def _labelled(batch: Columns, tokenizer: PreTrainedTokenizerFast) -> Any:
    windows = cut(tokenizer, [question.lstrip() for question in batch["question"]], batch["context"])
    offsets, examples = windows.pop("offset_mapping"), windows.pop("overflow_to_sample_mapping")
    answers = [batch["answers"][example] for example in examples]
    labels = [label(offsets[row], windows.sequence_ids(row), answer) for row, answer in enumerate(answers)]
    windows["start_positions"], windows["end_positions"] = (list(side) for side in zip(*labels, strict=True))
    return windows


def label(offsets: list[tuple[int, int]], parts: list[int | None], answers: Columns) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0), the [CLS], where the window does not hold all of it."""
    if not answers["text"]:
        return 0, 0
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    first = parts.index(1)
    last = len(parts) - 1 - parts[::-1].index(1)
    if offsets[first][0] > begin or offsets[last][1] < end:
        return 0, 0
    start, stop = first, last
    while start <= last and offsets[start][0] <= begin:
        start += 1
    while offsets[stop][1] >= end:
        stop -= 1
    return start - 1, stop + 1
