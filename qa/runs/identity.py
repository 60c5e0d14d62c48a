"""The identity of a run: settings, content of inputs, code. Two runs are the same where these are equal."""

import functools
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qa import recipe
from qa.data.reading.files import find_files
from qa.errors import UserError
from qa.hub import cached_commit, model_folder, split_revision
from qa.model.answering import QA_JSON
from qa.storage import content_hash, contents_hash

FOLLOWS_SEED = "${seed}"
LIBRARIES = ("torch", "lightning", "transformers", "tokenizers", "datasets", "numpy")
# where and how a run computes, not what; inputs (paths and hub names) are compared by their content
NEUTRAL = {
    "resume", "data.cache_dir", "data.cache_gib", "data.micro_batch_size", "data.num_workers", "data.name",
    "data.train_file", "data.validation_file", "data.test_file", "data.predictions_file", "model.pretrained",
    "checkpoint.every_n_steps", "checkpoint.every_n_minutes", "checkpoint.keep", "checkpoint.optimizer_state",
    "checkpoint.on_error",
}  # fmt: skip
NEUTRAL_GROUPS = ("hydra.", "logger.", "sweep.", "callbacks.live_line.", "callbacks.estimate.")
# the trainer's arguments that decide about figures; all others are neutral, also those that Lightning will add
TRAINER = {
    "precision", "plugins", "deterministic", "benchmark", "fast_dev_run", "max_epochs", "min_epochs", "max_steps",
    "min_steps", "max_time", "limit_train_batches", "val_check_interval", "check_val_every_n_epoch",
    "gradient_clip_val", "gradient_clip_algorithm", "sync_batchnorm",
}  # fmt: skip
LIMITS = {"test": "limit_test_batches", "predict": "limit_predict_batches"}  # of the other stages: limit_val_batches
# what a run that was interrupted may change when it resumes; a finished run is another one with it
LENGTH = {"push_to_hub", "trainer.max_epochs", "trainer.max_steps", "trainer.max_time"}
LENGTH_GROUPS = ("callbacks.",)
# {setting: what runs did that did not have it yet}: whoever adds a setting adds it here, so that older runs resume
ADDED: dict[str, Any] = {
    "data.columns.is_impossible": None,
    "data.label": "first",
    "data.languages": None,
    "data.mixture": None,
    "data.negative_windows": 1.0,
    "data.overlap": "warn",
    "model.dropout": None,
}
# columns that runs without `data.mixture` had by default; later ones have null there
COLUMNS = {f"data.columns.{key}": key for key in ("id", "question", "context", "answer", "answer_start")}
RECIPE_INPUTS = {"model": recipe.MODEL, "train": recipe.DATA}
RECIPE_SETTINGS: dict[str, Any] = {
    "data.limit": None,
    "data.mixture": None,
    "data.negative_windows": 1.0,
    "data.label": "first",
    "data.max_length": recipe.MAX_LENGTH,
    "data.stride": recipe.STRIDE,
    "data.batch_size": recipe.BATCH_SIZE,
}
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin"}


def identity(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """{"settings", "inputs", "code", "versions"} of a run into `folder`, as plain values that JSON keeps.

    `values`: {dotted key: value} of the composed configuration, before anything is changed in it (see
    `qa.config.composed.resolved`). Errors: UserError for an input file that does not exist.
    """
    settings = {key: value for key, value in _decisive(values).items() if value != FOLLOWS_SEED}
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):  # not every run needs all of them
            versions[name] = version(name)
    return {"settings": settings, "inputs": _inputs(values, folder), "code": commit(), "versions": versions}


def dotted(node: Any, prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of the leaves of nested mappings."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {k: v for name, child in node.items() for k, v in dotted(child, f"{prefix}.{name}".lstrip(".")).items()}


def _decisive(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide about figures."""
    limit = LIMITS.get(values.get("stage", ""), "limit_val_batches")
    return {key: value for key, value in values.items() if not _is_neutral(key, value, TRAINER | {limit})}


def _is_neutral(key: str, value: Any, trainer: set[str]) -> bool:
    """Whether a setting does not decide about figures. `_target_` of our own code may move; another's is a choice.

    `trainer`: its arguments that do.
    """
    if key.endswith("._partial_") or (key.endswith("._target_") and str(value).startswith(("qa.", "hydra_plugins."))):
        return True
    group, _, name = key.partition(".")
    if group == "trainer" and name != "_target_":
        return name.partition(".")[0] not in trainer
    return key in NEUTRAL or f"{key}.".startswith(NEUTRAL_GROUPS)


def _inputs(values: Mapping[str, Any], folder: Path) -> dict[str, list[str]]:
    """{role: content hashes, or NAME@COMMIT on the hub} of all that the stage reads."""
    stage, resume = values["stage"], values["resume"]
    splits = {"fit": ["train", "validation"], "validate": ["validation"]}.get(stage, ["test"])
    if values.get("data.validation_share") and stage in ("fit", "validate"):
        splits = ["train"]
    inputs = {split: _data(values, split) for split in splits}
    if scored := values.get("data.predictions_file"):
        return {**inputs, "predictions": [_content_of(scored, "data.predictions_file")]}
    checkpoint = None if resume in ("auto", "never") else Path(resume)
    if checkpoint and not (stage == "fit" and checkpoint.resolve().is_relative_to(folder.resolve())):
        inputs["resume"] = [_content_of(checkpoint, "resume")]
    if not checkpoint or stage == "fit":
        contents = model_contents(str(values["model.pretrained"]))
        inputs["model"] = contents if stage == "fit" else contents[-1:]  # an evaluation takes the calibration, too
    return inputs


def _data(values: Mapping[str, Any], split: str) -> list[str]:
    if files := values.get(f"data.{split}_file"):
        return [content_hash(path) for path in find_files(files)]
    name = values.get("data.name")
    return [_on_the_hub(str(name), "dataset")] if name else []


def question_hashes(run: Mapping[str, Any], split: str) -> list[str]:
    """The content of a run's split, a text for each source; equal texts are equal questions."""
    settings, inputs = run.get("settings", {}), run.get("inputs", {})
    if split == "validation" and (share := settings.get("data.validation_share")):
        return [f"{share} of {content}, drawn by {settings.get('data.split_seed')}" for content in inputs["train"]]
    return [f"{content} {split}" if "@" in content else content for content in inputs.get(split, [])]


def is_trained_on(run: Mapping[str, Any], split: str, trained: Mapping[str, Any]) -> bool:
    """Whether an evaluation reads a file that its model was trained on, and not the share that was kept from that.

    An earlier run counts too, where the model of `trained` began with its model.
    """
    if "base" in trained and is_trained_on(run, split, trained["base"]):
        return True
    inputs, trained_inputs = run.get("inputs", {}), trained.get("inputs", {})
    if run.get("settings", {}).get("data.validation_share"):
        kept, files = question_hashes(trained, "validation"), inputs.get("train", [])
        return kept != question_hashes(run, split) and not set(files).isdisjoint(trained_inputs.get("train", []))
    return any("@" not in content for content in {*inputs.get(split, [])} & {*trained_inputs.get("train", [])})


def model_contents(pretrained: str) -> list[str]:
    """A name on the hub by its commit; a folder by what is loaded from it, without and with `qa.json` if it has that.

    Only the latter changes where the model is calibrated; runs of earlier versions have it alone.
    """
    path = Path(model_folder(pretrained))
    if not path.is_dir():
        return [_on_the_hub(pretrained, "model")]
    files = sorted(file for file in path.iterdir() if file.suffix in MODEL_FILES and file.is_file())
    weights = [file for file in files if file.name != QA_JSON]
    return list(dict.fromkeys(map(contents_hash, (weights, files))))


def _on_the_hub(name: str, kind: Any) -> str:
    """NAME@COMMIT; without the commit where the cache does not know it yet."""
    plain, revision = split_revision(name)
    return f"{plain}@{cached_commit(plain, revision, kind)}"


def _content_of(path: str | Path, key: str) -> str:
    if not Path(path).is_file():
        raise UserError(f"{key}={path}: no such file; give another")
    return content_hash(Path(path))


@functools.cache
def commit() -> str | None:
    """The code's git commit, with a + where files differ from it; None outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any], resuming: bool = False) -> list[str]:
    """The inputs and settings that differ, as `key (VALUE there, VALUE here)`; empty where two runs are the same.

    `resuming`: whether `recorded` is of a checkpoint: its run may be made longer. Code and versions are not compared:
    see `other_code`.
    """
    differ, one, other = [], as_today(recorded["settings"]), as_today(wanted["settings"])
    for key in sorted(one.keys() | other.keys()):
        may_change = resuming and (key in LENGTH or f"{key}.".startswith(LENGTH_GROUPS))
        if not may_change and not _same(key, one.get(key), other.get(key)):
            differ.append(f"{key} ({one.get(key)} there, {other.get(key)} here)")
    there, here = recorded["inputs"], wanted["inputs"]
    for role in sorted(there.keys() | here.keys()):
        if resuming and role == "resume":
            continue  # the checkpoint itself, which is of the other run
        is_same = is_same_model if role == "model" else is_same_content
        if not is_same(there.get(role, []), here.get(role, [])):
            content = _short(there.get(role))
            remedy = f"; {content} can be given" if "@" in content else ""
            differ.append(f"the content of {role} ({content} there, {_short(here.get(role))} here{remedy})")
    return differ


def as_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run in today's words: what earlier versions held for decisive and is not is left out."""
    # what is null by default now was this by default
    nulls = {"data.eval_batch_size": recipe.BATCH_SIZE, **({} if "data.mixture" in settings else COLUMNS)}
    return {**ADDED, **{key: None if nulls.get(key) == v else v for key, v in _decisive(settings).items()}}


def _same(key: str, one: Any, other: Any) -> bool:
    """Whether two values of a setting are the same: for lightning 1 is a batch and 1.0 is all of them."""
    return one == other and (not key.startswith("trainer.") or isinstance(one, float) == isinstance(other, float))


def is_same_content(one: list[str], other: list[str]) -> bool:
    """Whether two inputs are the same; a name on the hub without its commit may be that of any."""
    return len(one) == len(other) and all(
        a == b or (a.endswith("@") and b.startswith(a)) or (b.endswith("@") and a.startswith(b))
        for a, b in zip(one, other, strict=True)
    )


def is_same_model(one: list[str], other: list[str]) -> bool:
    """Whether two models are the same, each with one or two `model_contents`."""
    return any(is_same_content([a], [b]) for a in one for b in other)


def _short(contents: list[str] | None) -> str:
    return " ".join(content if "@" in content else content[:8] for content in contents or ["none"])


def is_recipe(run: Mapping[str, Any]) -> bool:
    """Whether the windows and steps of a run are those of the published one: mBERT on SQuAD v1.1."""
    settings, inputs = as_today(run.get("settings", {})), run.get("inputs", {})
    named_alike = all("".join(inputs.get(role, [])).startswith(f"{name}@") for role, name in RECIPE_INPUTS.items())
    return named_alike and all(settings.get(key) == value for key, value in RECIPE_SETTINGS.items())


def other_code(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The differences in code between two runs, such as "torch 2.12.0 (2.13.0 here)"; empty where nothing does."""
    pairs = [(name, recorded["versions"].get(name), here) for name, here in wanted["versions"].items()]
    if recorded["code"] and wanted["code"]:
        pairs.append(("commit", recorded["code"][:12], wanted["code"][:12]))
    return ", ".join(f"{name} {there} ({here} here)" for name, there, here in pairs if there != here)
