"""The model card."""

import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment

from qa.config.settings import Settings
from qa.hub import local_folder, named
from qa.runs.results import MONITORS, V2_FIGURES, Results
from qa.runs.results_table import cell, markdown_table, markdown_trust_table

HUB_NAMES = {"data.name", "model.pretrained", "push_to_hub"}  # settings whose value may be USER/NAME
PATHS = re.compile(r"""(?<=')[^']+(?=')|(?<=")[^"]+(?=")|[^\[\],'"]+""")  # of a list, or of one

CARD = Environment(autoescape=False, keep_trailing_newline=True).from_string("""\
# {{ base }}, fine-tuned for extractive question answering

Trained from `{{ base }}` on `{{ data }}` ({{ results.examples.train }} questions, {{ results.windows.train }} windows),
evaluated on `{{ evaluation }}` ({{ results.examples.validation }} questions, {{ results.windows.validation }} windows).

{{ table }}

Losses are means over windows; EM and F1 are the official SQuAD {{ version }} metrics over questions, in percent.
These weights are those of epoch {{ results.best.epoch }} (step {{ results.best.step }}), the best by {{ monitor }}.

## Limits

{% if results.best.is_v2 -%}
Answers are spans of the context, or none: where the null score (the logits of `[CLS]` as start and as end, added up) is
more than {{ threshold }} above the score of the best span. This threshold, in `qa.json`, was best for F1 on the data
above. The model
{%- else -%}
Answers are spans of the context: this model does not know whether a context holds an answer, and always gives one. It
{%- endif %}
saw windows of at most {{ settings["data.max_length"] }} tokens, and was evaluated on the data above alone. They also
chose the epoch, so that the figures are a little too good.
{%- if results.overlap and results.overlap.note() %} {{ results.overlap.note() }}{% endif %}

{% if trust -%}
## Probabilities

{{ trust }}

Softmax: over a question's candidates. Given: what this program's answers call `probability`, candidates that are the
same answer added up, at the temperature in `qa.json`. It was fitted on the data above, and measured with half of the
contexts after it was fitted with the other half. On data of another kind the probabilities are worth less.

{% endif -%}
## Use

```python
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model = AutoModelForQuestionAnswering.from_pretrained("model")
tokenizer = AutoTokenizer.from_pretrained("model")
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
{% for name, value in settings.items() -%}
| {{ name }} | {{ value }} |
{% endfor %}
{% for name, version in versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}
""")


def model_card(results: Results, settings: Settings, command: str) -> str:
    """The model card: figures, settings, versions, data, and the command that repeats the run."""
    groups = {name: getattr(settings, name) for name in ("data", "optimizer", "scheduler", "trainer")}
    shown = {f"{group}.{key}": value for group, node in groups.items() for key, value in node.items()}
    shown = {"seed": settings.seed, **{key: v for key, v in shown.items() if v is not None and "._" not in key}}
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
        **license_and_language(pretrained),
        model_name=f"{Path(base).name}-question-answering",
        eval_results=[
            EvalResult("question-answering", evaluation, evaluation, metric, value, dataset_split="validation")
            for metric in ("exact_match", "f1", *V2_FIGURES)
            if (value := getattr(results.best, metric)) is not None and not metric.endswith("_thresh")
        ],
    )
    body = CARD.render(
        base=base if local or not made else made["inputs"]["model"][0],  # with its commit
        data=training,
        evaluation=evaluation if files or share else f"{name}, split validation",
        results=results,
        table=markdown_table(results.epochs, results.evaluated),
        trust=markdown_trust_table(results.calibration) if results.calibration else "",
        version="v2.0" if results.best.is_v2 else "v1.1",
        threshold=f"{results.best.threshold or 0:.2f}",
        monitor=MONITORS[settings.checkpoint.monitor],
        command=command_without_folders(command),
        settings={key: cell(v if key == "data.name" else without_folders(v)) for key, v in shown.items()},
        versions={
            **{name: version(name) for name in ("torch", "lightning", "transformers", "tokenizers")},
            **({"this program's commit": made["code"][:12]} if made and made["code"] else {}),
        },
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def model_name(pretrained: str) -> str:
    """A model by its own name: on the hub without a revision, of a folder without the folders above it."""
    return without_folders(pretrained) if Path(pretrained).is_dir() else named(pretrained)[0]


def license_and_language(pretrained: str) -> dict[str, Any]:
    """What the base model's own card gives of them, as long as it is in the model's folder or in the hub's cache."""
    folder = local_folder(pretrained)
    card = folder / "README.md" if folder else None
    if card is None or not card.is_file():
        return {}
    try:
        data = ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError):  # a card that cannot be read says nothing
        return {}
    return {key: data[key] for key in ("license", "language") if data.get(key)}


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
