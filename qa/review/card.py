"""The model card."""

import re
import shlex
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment

from qa.config.settings import Settings
from qa.hub import local_folder, named
from qa.runs.results import MONITORS, V2_FIGURES, Results
from qa.runs.results_table import TRUST_NOTE, cell, counted, markdown_table, markdown_trust_table

MAIN = ("optimizer.lr", "data.batch_size", "trainer.max_epochs", "data.name", "data.train_file", "seed")  # shown first
HUB_NAMES = {"data.name", "model.pretrained", "push_to_hub"}  # settings whose value may be USER/NAME
PATHS = re.compile(r"""(?<=')[^']+(?=')|(?<=")[^"]+(?=")|[^\[\],'"]+""")  # of a list, or of one

CARD = Environment(autoescape=False, keep_trailing_newline=True).from_string("""\
# {{ base }}, fine-tuned for extractive question answering

Trained {% if origin != base %}from `{{ origin }}` {% endif %}on `{{ data }}`
({{ counted(results.examples.train, "question") }}, {{ counted(results.windows.train, "window") }}),
evaluated on `{{ evaluation }}`
({{ counted(results.examples.validation, "question") }}, {{ counted(results.windows.validation, "window") }}).

{{ table }}

Losses are means over windows; EM and F1 are the official SQuAD {{ version }} metrics over questions, in percent.
These weights are those of epoch {{ results.best.epoch }} (step {{ results.best.step }}), the best by {{ monitor }}.

## Limits

{% if results.best.is_v2 -%}
Answers are spans of the context, or no answer if the null score (the sum of `[CLS]`'s start and end logits) is more
than {{ threshold }} above the score of the best span. `qa.json` has this threshold, the best for F1 on the data above.
The model
{%- else -%}
Answers are spans of the context: this model does not know whether a context holds an answer, and always gives one. It
{%- endif %}
saw windows of at most {{ settings["data.max_length"] }} tokens, and was evaluated on the data above alone.
{%- if results.epochs|length > 1 %} These
questions were also used to choose the best epoch, so the figures are a little too good.
{%- endif %}
{%- if results.memory %} {{ results.memory }}{% endif %}

{% if trust -%}
## Probabilities

{{ trust }}

{{ trust_note }}

The temperature is in `qa.json`. It was fitted on the data above; here each half of the contexts is measured with a
temperature that was fitted on the other half. On data of another kind the probabilities are worth less.

{% endif -%}
## Use

In a checkout of the program that trained it, for texts of any length:

```python
from qa import QuestionAnswerer

answer = QuestionAnswerer.from_pretrained("model")  # the folder of this card
found = answer("Who founded the mill?", "Anna Kern founded the mill in 1912. Her son Paul sold it in 1950.")
print(found.text, found.probability)
```

With transformers alone, for a question and a text that fit into one window; it always gives an answer:

```python
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model = AutoModelForQuestionAnswering.from_pretrained("model").eval()
tokenizer = AutoTokenizer.from_pretrained("model")
question, context = "Who founded the mill?", "Anna Kern founded the mill in 1912. Her son Paul sold it in 1950."
inputs = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
places = inputs.pop("offset_mapping")[0]
with torch.no_grad():
    output = model(**inputs)
outside = torch.tensor([part != 1 for part in inputs.sequence_ids()])
starts, ends = (logits[0].masked_fill(outside, -1e9) for logits in (output.start_logits, output.end_logits))
spans = torch.ones(len(starts), len(ends)).triu().tril({{ longest - 1 }})  # of at most {{ longest }} tokens
start, end = divmod(int((starts.unsqueeze(1) + ends - 1e9 * (1 - spans)).argmax()), len(ends))
print(context[places[start][0] : places[end][1]])
```

## Repeat

```
{{ command }}
```

{% for change in results.schedule_changes -%}
The schedule changed at step {{ change.step }}, from {{ change.total_steps_before }} steps in all to
{{ change.total_steps }}: one run of the command above has other rates.

{% endfor -%}
{% if results.seconds -%}
Training and its evaluations took {{ "%.1f"|format(results.seconds / 60) }} minutes on {{ results.devices }} x
{{ results.hardware }}; energy was not measured.

{% endif -%}
{% for split, key in results.fingerprints.items() -%}
Fingerprint of the {{ split }} windows (content, tokenizer, lengths): `{{ key }}`.
{% endfor %}
| setting | value |
| --- | --- |
{% for name in main if name in settings -%}
| {{ name }} | {{ settings.pop(name) }} |
{% endfor %}
<details><summary>All other settings</summary>

| setting | value |
| --- | --- |
{% for name, value in settings.items() -%}
| {{ name }} | {{ value }} |
{% endfor %}
</details>

{% for name, version in versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}
""")


def model_card(results: Results, settings: Settings, command: str, languages: Iterable[str] = ()) -> str:
    """The model card: figures, settings, versions, data, and the command that repeats the run.

    `languages`: the codes of those that were trained, as far as they are known.
    """
    groups = {name: getattr(settings, name) for name in ("data", "optimizer", "scheduler", "trainer")}
    shown = {f"{group}.{key}": value for group, node in groups.items() for key, value in node.items()}
    shown = {"seed": settings.seed, **{key: without_none(v) for key, v in shown.items() if "._" not in key}}
    pretrained = settings.model["pretrained"]
    local, base = Path(pretrained).is_dir(), model_name(pretrained)
    made = results.identity
    name, files, share = (settings.data.get(key) for key in ("name", "validation_file", "validation_share"))
    training = without_folders(settings.data["train_file"]) if settings.data["train_file"] else name
    part = f"a part of {training} (data.validation_share={share})" if share else str(name)
    evaluation = without_folders(files) if files else part
    assert results.best is not None
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="question-answering",
        tags=["extractive-qa"],
        base_model=None if local else base,
        license=license_of(pretrained),
        language=sorted(languages) or None,
        model_name=f"{base.split('/')[-1]}-question-answering",
        eval_results=[
            EvalResult("question-answering", evaluation, evaluation, metric, value, dataset_split="validation")
            for metric in ("exact_match", "f1", *V2_FIGURES)
            if (value := getattr(results.best, metric)) is not None and not metric.endswith("_thresh")
        ],
    )
    body = CARD.render(
        base=base,
        origin=base if local or not made else made["inputs"]["model"][0],  # with its commit
        data=training,
        evaluation=evaluation if files or share else f"{name}, split validation",
        results=results,
        table=markdown_table(results.epochs, results.evaluated),
        trust=markdown_trust_table(results.calibration) if results.calibration else "",
        trust_note=TRUST_NOTE,
        counted=counted,
        longest=settings.decode.max_answer_length,
        main=MAIN,
        version="v2.0" if results.best.is_v2 else "v1.1",
        threshold=f"{results.best.threshold or 0:.2f}",
        monitor=MONITORS[settings.checkpoint.monitor],
        command=command_without_folders(command),
        settings={
            key: cell(v if key == "data.name" else without_folders(v)) for key, v in shown.items() if v is not None
        },
        versions={
            **{name: version(name) for name in ("torch", "lightning", "transformers", "tokenizers")},
            **({"this program's commit": made["code"][:12]} if made and made["code"] else {}),
        },
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def model_name(pretrained: str) -> str:
    """A model by its own name: on the hub without a revision, of a folder without the folders above it.

    A model that a package holds has the package's name on PyPI.
    """
    if not Path(pretrained).is_dir():
        return named(pretrained)[0]
    _, installed, inside = pretrained.partition("site-packages/")
    return inside.split("/")[0].replace("_", "-") if installed else without_folders(pretrained)


def license_of(pretrained: str) -> str | None:
    """The license in the base model's own card, if that is in the model's folder or in the hub's cache."""
    folder = local_folder(pretrained)
    card = folder / "README.md" if folder else None
    if card is None or not card.is_file():
        return None
    try:
        license_name: str | None = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict().get("license")
    except (OSError, ValueError):  # a card that cannot be read says nothing
        return None
    return license_name


def without_none(value: Any) -> Any:
    """A setting as it is shown: a mapping as "key=value, …" of its known values; None where nothing is set."""
    if not isinstance(value, Mapping):
        return value
    return ", ".join(f"{key}={part}" for key, part in value.items() if part is not None) or None


def without_folders(value: Any) -> str:
    """A setting as anybody may read it: paths without the folders that tell whose machine it was.

    An installed package's folder is named from the package on, a run's model by `RUN/model`, all else by its last part.
    """
    if isinstance(value, list):
        return ", ".join(map(without_folders, value))
    path = Path(str(value))
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    return "/".join(path.parts[-2:]) if (path.parent / "results.json").exists() else path.name or str(value)


def command_without_folders(command: str) -> str:
    """The words of a shell's command, Hydra's lists and quotes among them, with each path as `without_folders`."""
    words = []
    for word in shlex.split(command):
        name, equals, value = word.partition("=")
        if "/" in value and (name not in HUB_NAMES or Path(value).exists()):
            value = PATHS.sub(lambda path: without_folders(path[0]), value)
        words.append(f"{name}{equals}{value}")
    return shlex.join(words)
