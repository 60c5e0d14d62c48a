"""The model card."""

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader

from qa.config.settings import Settings
from qa.hub import local_folder, split_revision
from qa.runs import results_table
from qa.runs.folder import RunFolder
from qa.runs.results import V2_FIGURES, Results, monitor_in_words

MAIN = ("optimizer.lr", "data.batch_size", "trainer.max_epochs", "data.name", "data.train_file", "seed")  # shown first
HUB_NAMES = {"data.name", "model.pretrained", "push_to_hub"}  # settings with values such as USER/NAME
PATHS = re.compile(r"""(?<=')[^']+(?=')|(?<=")[^"]+(?=")|[^\[\],'"]+""")  # of a list, or of one


def model_card(results: Results, settings: Settings, command: str) -> str:
    """The model card: figures, settings, versions, data, and the command that repeats the run."""
    groups = {name: getattr(settings, name) for name in ("data", "optimizer", "scheduler", "trainer")}
    shown = {f"{group}.{key}": value for group, node in groups.items() for key, value in node.items()}
    shown = {"seed": settings.seed, **{key: without_none(v) for key, v in shown.items() if "._" not in key}}
    texts = {key: v if key == "data.name" else without_folders(v) for key, v in shown.items() if v is not None}
    name, files, share = (settings.data.get(key) for key in ("name", "validation_file", "validation_share"))
    training = training_data(settings)
    part = f"a part of {training} (data.validation_share={share})" if share else str(name)
    evaluation = without_folders(files) if files else part
    identity, best, pretrained = results.identity, results.best, settings.model["pretrained"]
    assert best is not None
    local, base = Path(pretrained).is_dir(), model_name(pretrained)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="question-answering",
        tags=["extractive-qa"],
        base_model=None if local else base,
        license=license_of(pretrained),
        language=list(filter(None, identity.get("languages", []))) or None,
        model_name=f"{base.split('/')[-1]}-question-answering",
        eval_results=[
            EvalResult("question-answering", evaluation, evaluation, metric, value, dataset_split="validation")
            for metric in ("exact_match", "f1", *V2_FIGURES)
            if (value := getattr(best, metric)) is not None and not metric.endswith("_thresh")
        ],
    )
    template = Environment(loader=PackageLoader("qa.review"), keep_trailing_newline=True).get_template("card.jinja")
    body = template.render(
        tables=results_table,
        results=results,
        best=best,
        base=base,
        origin=base if local or not identity else identity["inputs"]["model"][0],  # with its commit
        data=training,
        evaluation=evaluation if files or share else f"{name}, split validation",
        longest=settings.decode.max_answer_length,
        main=MAIN,
        command=command_without_folders(command),
        monitor=monitor_in_words(settings.checkpoint.monitor),
        settings={key: results_table.cell(text) for key, text in texts.items()},
        versions={
            **{name: version(name) for name in ("torch", "lightning", "transformers", "tokenizers")},
            **({"this program's commit": identity["code"][:12]} if identity and identity["code"] else {}),
        },
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def training_data(settings: Settings) -> str:
    """The names of a fit's training data, without folders."""
    files = settings.data["train_file"]
    return without_folders(files) if files else str(settings.data["name"])


def model_name(pretrained: str) -> str:
    """The name of a model: on the hub without a revision, of a folder without the folders above it.

    RUN/model is called RUN, and a model in an installed package has the package's name on PyPI.
    """
    folder = Path(pretrained).resolve()
    if not folder.is_dir():
        return split_revision(pretrained)[0]
    _, installed, inside = pretrained.partition("site-packages/")
    if installed:
        return inside.split("/")[0].replace("_", "-")
    is_inside = folder.name == "model" and folder.parent != Path.home()  # whose name is the user's
    return (is_inside and folder.parent.name) or folder.name


def license_of(pretrained: str) -> str | None:
    """The license in the base model's own card, if that is in the model's folder or in the hub's cache."""
    folder = local_folder(pretrained)
    license_name: str | None = None
    with suppress(OSError, ValueError):  # a card that is missing or cannot be read says nothing
        card = ModelCard.load(folder / "README.md", ignore_metadata_errors=True) if folder else None
        license_name = card and card.data.to_dict().get("license")
    return license_name


def without_none(value: Any) -> Any:
    """A setting to show: a mapping as "key=value, …" of its known values; None where nothing is set."""
    if not isinstance(value, Mapping):
        return value
    return ", ".join(f"{key}={part}" for key, part in value.items() if part is not None) or None


def without_folders(value: Any) -> str:
    """A setting for any reader: paths without the folders that tell a user's machine.

    An installed package's folder is named from the package on, a run's model by `RUN/model`, the demo's files by
    `demo/NAME`, all else by its last part.
    """
    if isinstance(value, list):
        return ", ".join(map(without_folders, value))
    path = Path(str(value))
    if str(value).startswith("hf://"):
        return str(value)
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    is_known = path.parent.name == "demo" or RunFolder(path.parent).results.exists()
    return "/".join(path.parts[-2:]) if is_known else path.name or str(value)


def command_without_folders(command: str) -> str:
    """The words of a shell's command, Hydra's lists and quotes among them, with each path as `without_folders`."""
    words = []
    for word in shlex.split(command):
        name, equals, value = word.partition("=")
        if "/" in value and (name not in HUB_NAMES or Path(value).exists()):
            value = PATHS.sub(lambda path: without_folders(path[0]), value)
        words.append(f"{name}{equals}{value}")
    return shlex.join(words)
