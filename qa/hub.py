"""The Hugging Face Hub: asked once whether it answers, then used or left alone."""

import glob
import hashlib
import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from qa.errors import UserError, first_line

log = logging.getLogger(__name__)

RepositoryKind = Literal["model", "dataset"]
OWN_FILES = "data=local data.train_file=… data.validation_file=…"
REMEDIES = {
    "model": "or give a model's folder",
    "dataset": f"or use your own files: {OWN_FILES}; `make demo` needs no hub",
}


def go_offline_if_unreachable(patience: float = 5.0) -> bool:
    """Asks the hub once, at most `patience` seconds; without an answer the libraries read their caches only.

    Must be called before transformers or datasets are imported: they retry for half a minute otherwise, and read
    the variable when they are imported. Returns whether the hub is used.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    import httpx  # takes a while, and few commands but a training ask the hub

    try:
        httpx.head(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=patience)
    except httpx.HTTPError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return False
    return True


def split_revision(name: str) -> tuple[str, str | None]:
    """NAME and REVISION, a branch, a tag or a commit, of `NAME@REVISION`; None where it names no revision."""
    plain, _, revision = name.partition("@")
    return plain, revision or None


def cached_commit(name: str, revision: str | None, kind: RepositoryKind) -> str:
    """The commit that the hub's cache has for a revision, without a look at the hub; empty where it has none."""
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    path = _cache(name, kind) / "refs" / (revision or "main")
    return path.read_text("utf-8").strip() if path.is_file() else ""


def model_folder(pretrained: str) -> str:
    """The folder RUN/model for that of a run, RUN; all else as it is."""
    folder = Path(pretrained)
    is_run = not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file()
    return str(folder / "model") if is_run else pretrained


def local_folder(pretrained: str) -> Path | None:
    """A model's folder on this machine: itself, or that of `NAME` or `NAME@REVISION` in the hub's cache, if any."""
    if (path := Path(model_folder(pretrained))).is_dir():
        return path
    name, revision = split_revision(pretrained)
    folder = _snapshot(name, "model", cached_commit(name, revision, "model"))
    return folder if folder.is_dir() else None


def check_cached(pretrained: str, own_data: bool) -> None:
    """Checks that the hub's cache has a model, where the hub is not reached. Errors: UserError, with what needs no hub.

    `own_data`: whether the data do not come from the hub either.
    """
    if local_folder(pretrained) or _is_path(pretrained):
        return
    remedy = "model=minilm needs no hub" if own_data else f"{OWN_FILES} model=minilm needs no hub, nor does `make demo`"
    raise UserError(
        f"model {pretrained}: the hub is not reached, and its cache does not have it; {remedy};"
        " or give model.pretrained=FOLDER"
    )


def _is_path(pretrained: str) -> bool:
    return pretrained.startswith((".", "/", "~")) or pretrained.count("/") > 1


def _cache(name: str, kind: RepositoryKind) -> Path:
    # where huggingface_hub has it; to import that here would be before it is known whether the hub is reached
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    return cache / f"{kind}s--{name.replace('/', '--')}"


def _snapshot(name: str, kind: RepositoryKind, commit: str) -> Path:
    return _cache(name, kind) / "snapshots" / commit


@lru_cache
def _fetched(address: str) -> tuple[str, str]:
    """NAME@COMMIT and PATH of `hf://datasets/USER/NAME[@REVISION]/PATH`, once the files are in the hub's cache."""
    match = re.fullmatch(r"hf://datasets/([^/]+/[^/@]+(?:@refs/\w+/\w+|@[^/]+)?)/(.+)", address)
    if not match or {"..", "**"} & {*match[2].split("/")}:
        raise UserError(f"{address}: should be hf://datasets/USER/NAME/PATH, where PATH may have * and ?")
    go_offline_if_unreachable()
    return fetch(match[1], "dataset", match[2]), match[2]


def files_in_cache(address: str) -> str:
    """The path or glob in the hub's cache of `hf://datasets/USER/NAME[@REVISION]/PATH`, downloaded if need be.

    Errors: UserError.
    """
    repository, pattern = _fetched(address)
    name, _, commit = repository.partition("@")
    return f"{glob.escape(str(_snapshot(name, 'dataset', commit)))}/{pattern}"


def with_commit(address: str) -> str:
    """An address `hf://…` with the commit of its files, which are downloaded if need be. Errors: UserError."""
    return "hf://datasets/" + "/".join(_fetched(address))


def fetch(repository: str, kind: RepositoryKind, pattern: str | None = None) -> str:
    """Brings `NAME` or `NAME@REVISION` into the hub's cache, if it is not there, and checks what was downloaded.

    `pattern`: of the files of a data set, None for all. Returns NAME@COMMIT. Errors: UserError where it is not
    available, and for a download with a wrong checksum, which is removed.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    name, revision = split_revision(repository)
    blobs = _cache(name, kind) / "blobs"
    earlier = set(blobs.glob("*"))
    wanted = ["*.json", "*.txt", "*.model", "*.safetensors", "contexts.npy"] if kind == "model" else pattern
    deeper = None if pattern is None else "/".join("*" * (pattern.count("/") + 2))  # the library's * matches / too
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each retry is a warning
    try:
        snapshot = snapshot_download(
            name, repo_type=kind, revision=revision, allow_patterns=wanted, ignore_patterns=deeper
        )
        if kind == "model" and not list(Path(snapshot).glob("*.safetensors")):
            snapshot_download(name, revision=revision, allow_patterns="*.bin")
    except Exception as error:  # the libraries' own, and those of the HTTP client below them
        raise UserError(f"{kind} {repository}: {why_unavailable(error)}, {REMEDIES[kind]}") from None
    for blob in set(blobs.glob("?" * 64)) - earlier:  # large files are named by their checksum
        with blob.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != blob.name:
            blob.unlink()
            raise UserError(f"{kind} {repository}: a download was damaged, and is removed; start again")
    return f"{name}@{Path(snapshot).name}"  # the cache's folders are named by their commits


def why_unavailable(error: BaseException) -> str:
    """The reason why the hub did not give something, from the error or those that led to it."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status in (401, 403):
            return f"not there, private or gated ({status}); if it is there, log in by `hf auth login` or HF_TOKEN=…"
        if type(cause).__name__ == "RevisionNotFoundError":
            return "it has no such revision on the hub (404); look for its spelling"
        if status == 404:
            return "there is no such name on the hub (404); look for its spelling"
        if status == 429:
            return "the hub limits requests (429); try again later, or log in by `hf auth login` or HF_TOKEN=…"
        if status is not None:
            return f"the hub failed ({status}); try again later"
        cause = cause.__cause__ or cause.__context__
    if os.environ.get("HF_HUB_OFFLINE"):  # huggingface_hub's own words are a paragraph
        return "the hub is not reached, and its cache does not have it; connect to it, or look for the name's spelling"
    return f"not available from the hub, and not in its cache ({first_line(error)}); connect to it and try again"


def check_pretrained(pretrained: str) -> str:
    """The name that a model is loaded by: its folder, or NAME@COMMIT once it is in the hub's cache.

    Errors: UserError where `pretrained` is neither a model's folder nor available from the hub or its cache.
    """
    pretrained = model_folder(pretrained)
    if Path(pretrained).is_dir():
        if not (Path(pretrained) / "config.json").is_file():
            raise UserError(
                f"model.pretrained={pretrained}: no config.json in that folder, or in its model/, which a run has when"
                " it is finished; give a model's folder"
            )
        return pretrained
    if _is_path(pretrained):
        raise UserError(f"model.pretrained={pretrained}: no such folder; give a model's folder or a hub id")
    return fetch(pretrained, "model")


def load_arguments(pretrained: str) -> dict[str, Any]:
    """The arguments by which transformers' `from_pretrained` takes a folder, `NAME` or `NAME@REVISION`; no code."""
    name, revision = (pretrained, None) if Path(pretrained).is_dir() else split_revision(pretrained)
    return {"pretrained_model_name_or_path": name, "revision": revision or "main", "trust_remote_code": False}


def check_push(name: str) -> None:
    """Looks whether the hub would take a model under this name, before anything is trained; warns where all may see it.

    Errors: UserError.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    if name.count("/") != 1:
        raise UserError(f"push_to_hub={name}: should be USER/NAME")
    if os.environ.get("HF_HUB_OFFLINE"):
        raise UserError(f"push_to_hub={name}: the hub is not reached; connect to it, or leave push_to_hub out")
    try:
        HfApi().whoami()
        if not HfApi().model_info(name).private:
            log.warning("push_to_hub=%s: this repository is public: everybody will see the model", name)
    except RepositoryNotFoundError:
        return  # a new one will be private
    except Exception as error:  # the library's own, and those of the HTTP client below it
        raise UserError(f"push_to_hub={name}: {why_unavailable(error)}") from None


def push(folder: Path, name: str) -> tuple[str, bool]:
    """Uploads a model's folder, private where the name is new; returns its address and whether it is private.

    Errors: UserError.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        repository = HfApi().create_repo(name, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=name, folder_path=folder)
        private = bool(HfApi().model_info(name).private)
    except Exception as error:
        raise UserError(f"push_to_hub={name}: {why_unavailable(error)}; the same command tries again") from None
    return str(repository), private
