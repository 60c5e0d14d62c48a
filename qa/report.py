"""What a run leaves behind: results table, `results.json`, predictions, the model folder and its card."""

import json
import math
import os
import re
import shlex
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.table import Table
from rich.text import Text
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from qa import UserError, first_line, printable
from qa.decode import NBestAnswer
from qa.examples import Example, Overlap
from qa.hub import named
from qa.questions import Evaluation, evaluated, write_questions
from qa.runs import remove
from qa.settings import Settings
from qa.storage import readable, write_object


class Row(BaseModel):
    """One evaluation. Losses are means over windows, EM and F1 percent over questions; None: not measured."""

    epoch: int | float | None = None  # a fraction where it was cut short
    step: int | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    exact_match: float | None = None
    f1: float | None = None


class PerSplit(BaseModel):
    """A figure for training and one for evaluation; None where the stage has no such part."""

    train: float | int | None = None
    validation: float | int | None = None


def chosen_here(what: str) -> str:
    """What is to be said below a table whose best `what` was chosen by the very questions that it shows."""
    return (
        f"Chosen on this set: the best {what}, so that its figures are a little too good. On questions that chose"
        " nothing: python train.py stage=test data.test_file=… model.pretrained=RUN/model"
    )


class EvaluatedPart(BaseModel):
    """How many of the questions the figures are of; `trainer.limit_val_batches` and its like take a part."""

    questions: int
    of: int

    def note(self) -> str:
        """What readers of the figures must know; empty where all questions were evaluated."""
        part = f"Evaluated on {self.questions:,} of {self.of:,} questions, drawn at random."
        return part if self.questions < self.of else ""


class Results(BaseModel):
    """`results.json`: written after all but the pages, so that a folder with it is a finished run."""

    epochs: list[Row]
    best: Row | None
    windows: PerSplit
    examples: PerSplit
    windows_per_second: PerSplit
    devices: int
    padded_share: float | None = None
    hardware: str = ""
    seconds: float | None = None  # of training and evaluations, over all starts
    fingerprints: dict[str, str] = {}  # of each split's content, tokenizer and window settings
    skipped: dict[str, dict[str, int]] = {}
    nonfinite_steps: int = 0  # left out by nonfinite=skip, or by the gradient scaler of 16-mixed
    evaluated: EvaluatedPart | None = None
    overlap: Overlap | None = None  # of training and validation
    schedule_changes: list[dict[str, int]] = []  # at which step a resumed run was made longer or shorter
    identity: dict[str, Any] = {}  # what made it: settings, content of its inputs, code, versions
    about: dict[str, str] = {}  # what the head of the page says of the run

    @property
    def chosen(self) -> str:
        """That these questions chose the best epoch; empty where there was one evaluation."""
        return chosen_here("epoch") if len(self.epochs) > 1 else ""


HUB_NAMES = {"data.name", "model.pretrained", "push_to_hub"}  # settings whose value may be USER/NAME
PATHS = re.compile(r"""(?<=')[^']+(?=')|(?<=")[^"]+(?=")|[^\[\],'"]+""")  # of a list, or of one

COLUMNS = ("Epoch", "Step", "Training Loss", "Validation Loss", "EM", "F1")


def better(row: Row, than: Row, monitor: Literal["val_loss", "exact_match", "f1"]) -> bool:
    """Whether `row` beats `than`: a lower val_loss, or a higher EM or F1. What was not measured beats nothing."""
    new, old = getattr(row, monitor), getattr(than, monitor)
    if new is None or not math.isfinite(new):
        return False
    if old is None:
        return True
    return bool(new < old if monitor == "val_loss" else new > old)


def cells(row: Row) -> list[str]:
    """A row's figures under COLUMNS, as people read them."""
    formats = (".1f", "d", ".4f", ".4f", ".2f", ".2f")
    values = (row.epoch and float(row.epoch), row.step, row.train_loss, row.val_loss, row.exact_match, row.f1)
    return ["–" if value is None else format(value, form) for value, form in zip(values, formats, strict=True)]


def results_table(rows: Sequence[Row], best: Row | None, part: EvaluatedPart | None = None) -> Table:
    """The table for a terminal; the best row is marked, and what is not of all questions is said below."""
    caption = (part and part.note()) or None
    table = Table(*COLUMNS, "", box=None, header_style="bold", caption=caption, caption_justify="left")
    for column in table.columns[:-1]:
        column.justify = "right"
    for row in rows:
        mark = row == best and len(rows) > 1
        table.add_row(*cells(row), "← best" if mark else "", style="bold" if mark else "")
    return table


def markdown_rows(rows: Sequence[Sequence[str]]) -> str:
    """Lines of a Markdown table, without a line end after the last."""
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in rows)


def markdown_table(rows: Sequence[Row], part: EvaluatedPart | None = None) -> str:
    """The same table as Markdown, without a line end."""
    table = markdown_rows([COLUMNS, ["---"] * len(COLUMNS), *map(cells, rows)])
    return f"{table}\n\n{note}" if (note := part.note() if part else "") else table


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 under a temporary name and renames it, so that `path` is whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_predictions(folder: Path, evaluation: Evaluation) -> None:
    """Writes `predictions.json` ({id: text}, for the official script), `nbest.json` and `questions.parquet`, by id."""
    answers = evaluation.answers
    names = sorted(answers)
    texts = ((name, next((answer.text for answer in answers[name]), "")) for name in names)
    write_object(folder / "predictions.json", texts)
    write_object(folder / "nbest.json", ((name, [answer._asdict() for answer in answers[name]]) for name in names))
    write_questions(folder, evaluated(evaluation))


def read_predictions(path: Path) -> dict[str, str]:
    """{id: answer} in the format of the official evaluation script. Errors: UserError."""
    try:
        return TypeAdapter(dict[str, str]).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise UserError(f"data.predictions_file={path}: {error.strerror}; give another") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f'{path}: {place}: {first["msg"]}; give JSON of the form {{"id": "answer"}}') from None


def read_answers(folder: Path, names: Collection[str]) -> dict[str, list[NBestAnswer]]:
    """The answers of the questions `names` from `nbest.json`, line by line as `write_object` wrote it."""
    found: dict[str, list[NBestAnswer]] = {}
    name, lines = "", [""]
    decoder = json.JSONDecoder()
    with (folder / "nbest.json").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith((' "', "}")):
                if name in names:
                    answers = json.loads("{" + "".join(lines).rstrip(",\n") + "}")[name]
                    found[name] = [NBestAnswer(**answer) for answer in answers]
                name, lines = decoder.raw_decode(line, 1)[0] if line[0] == " " else "", []
            if name in names:
                lines.append(line)
    return found


def answered(example: Example, best: Sequence[NBestAnswer], width: int = 160) -> Text:
    """A question, its answer marked in the part of the context around it, and the reference where that differs."""
    text = Text(f"\nQ  {example.question}\n", style="bold")
    if not best:
        return text.append("   no answer", style="red")
    answer = best[0]
    begin = max(0, answer.start - width // 2)
    end = min(len(example.context), answer.end + width // 2)
    shown = Text("   " + ("…" if begin else ""), style="not bold")
    shown.append(example.context[begin : answer.start])
    shown.append("[" + answer.text + "]", style="bold green")
    shown.append(example.context[answer.end : end] + ("…" if end < len(example.context) else ""))
    shown.append(f"   (probability {answer.probability:.2f})", style="dim")
    if example.answers and answer.text not in {reference.text for reference in example.answers}:
        shown.append(f"\n   expected: {example.answers[0].text}", style="red")
    return text.append(shown)


CARD = Environment(autoescape=False, keep_trailing_newline=True).from_string("""\
# {{ base }}, fine-tuned for extractive question answering

Trained from `{{ base }}` on `{{ data }}` ({{ results.examples.train }} questions, {{ results.windows.train }} windows),
evaluated on `{{ evaluation }}` ({{ results.examples.validation }} questions, {{ results.windows.validation }} windows).

{{ table }}

Losses are means over windows; EM and F1 are the official SQuAD v1.1 metrics over questions, in percent.
These weights are those of epoch {{ results.best.epoch }} (step {{ results.best.step }}), the best by {{ monitor }}.

## Limits

Answers are spans of the context: this model does not know whether a context holds an answer, and always gives one. It
saw windows of at most {{ settings["data.max_length"] }} tokens, and was evaluated on the data above alone. They also
chose the epoch, so that the figures are a little too good.
{%- if results.overlap and results.overlap.note() %} {{ results.overlap.note() }}{% endif %}

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


def save_model(
    folder: Path,
    model: PreTrainedModel,
    weights: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerFast,
    results: Results,
    settings: Settings,
    command: str,
) -> None:
    """Writes `model/`: weights, config, tokenizer and the card; under a temporary name until it is whole."""
    temporary, final = folder / "model.tmp", folder / "model"
    remove(temporary)  # what a run that was killed here left
    try:
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
        ModelCard(model_card(results, settings, command)).save(temporary / "README.md")
        for path in temporary.iterdir():
            readable(path)
    except (OSError, SafetensorError) as error:
        remove(temporary)
        raise UserError(f"{final}: cannot be written ({first_line(error)}); make room there, and start again") from None
    remove(final)  # what a run that was killed just here left
    temporary.rename(final)


def model_card(results: Results, settings: Settings, command: str) -> str:
    """The model card: figures, settings, versions, data, and the command that repeats the run."""
    groups = {name: getattr(settings, name) for name in ("data", "optimizer", "scheduler", "trainer")}
    shown = {f"{group}.{key}": value for group, node in groups.items() for key, value in node.items()}
    shown = {"seed": settings.seed, **{key: v for key, v in shown.items() if v is not None and "._" not in key}}
    local = Path(settings.model["pretrained"]).is_dir()
    base = without_folders(settings.model["pretrained"]) if local else named(settings.model["pretrained"])[0]
    made = results.identity
    name, files, share = (settings.data.get(key) for key in ("name", "validation_file", "validation_share"))
    training = without_folders(settings.data["train_file"]) if settings.data["train_file"] else name
    evaluation = without_folders(files) if files else f"{share:.0%} of {training}" if share else str(name)
    assert results.best is not None
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="question-answering",
        tags=["extractive-qa"],
        base_model=None if local else base,
        model_name=f"{Path(base).name}-question-answering",
        eval_results=[
            EvalResult("question-answering", evaluation, evaluation, metric, value, dataset_split="validation")
            for metric, value in (("exact_match", results.best.exact_match), ("f1", results.best.f1))
        ],
    )
    body = CARD.render(
        base=base if local or not made else made["inputs"]["model"][0],  # with its commit
        data=training,
        evaluation=evaluation if files or share else f"{name}, split validation",
        results=results,
        table=markdown_table(results.epochs, results.evaluated),
        monitor=settings.checkpoint.monitor,
        command=command_without_folders(command),
        settings={key: cell(v if key == "data.name" else without_folders(v)) for key, v in shown.items()},
        versions={
            **{name: version(name) for name in ("torch", "lightning", "transformers", "tokenizers")},
            **({"this program's commit": made["code"][:12]} if made and made["code"] else {}),
        },
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


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


def cell(text: Any) -> str:
    """Text as one cell of a Markdown table."""
    return printable(" ".join(str(text).split())).replace("|", "\\|")
