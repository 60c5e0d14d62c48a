"""The Hugging Face Hub: asked once whether it answers, then used or left alone."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from qa import UserError
from qa.files import Record

REMEDY = (
    "connect to it, or use your own files: data=local data.train_file=… data.validation_file=… model.pretrained=FOLDER;"
    " `make demo` needs no hub"
)


def go_offline_if_unreachable(patience: float = 5.0) -> bool:
    """Asks the hub once, at most `patience` seconds; without an answer the libraries read their caches only.

    Must be called before transformers or datasets are imported: they retry for half a minute otherwise, and read
    the variable when they are imported. Returns whether the hub is used.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    try:
        httpx.head(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=patience)
    except httpx.HTTPError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return False
    return True


def hub_records(name: str, split: str) -> Iterator[Record]:
    """The rows of one split of a SQuAD-shaped Hub data set. Errors: UserError where hub and cache do not have it."""
    import datasets

    datasets.disable_progress_bars()
    try:
        rows: Any = datasets.load_dataset(name, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        raise UserError(
            f"data {name} ({split}): not to be had from the hub, and not in its cache ({first_line(error)}); {REMEDY}"
        ) from None
    for index, row in enumerate(rows):
        yield Record(f"{name} ({split}): row {index}", row)


def check_pretrained(pretrained: str) -> None:
    """Errors: UserError where `pretrained` is neither a model's folder nor to be had from the hub or its cache."""
    if Path(pretrained).is_dir():
        if not (Path(pretrained) / "config.json").is_file():
            raise UserError(f"model.pretrained={pretrained}: no config.json in that folder; give a model's folder")
        return
    if pretrained.startswith((".", "/", "~")) or pretrained.count("/") > 1:
        raise UserError(f"model.pretrained={pretrained}: no such folder; give a model's folder or a hub id")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        hf_hub_download(pretrained, "config.json")
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise UserError(
            f"model {pretrained}: not to be had from the hub, and not in its cache ({first_line(error)}); {REMEDY}"
        ) from None


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
