"""A model's folder → a folder for ONNX Runtime or OpenVINO, if its answers stay the same."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from huggingface_hub import ModelCard
from jinja2 import Environment
from torch import Tensor
from yaml import YAMLError

from qa.answering.answerer import QuestionAnswerer
from qa.answering.check import Asked, check_answers, check_trained
from qa.answering.engines import EXPORTED_FILES
from qa.answering.onnx_files import QUANTIZE, WindowInputs, check_installed, check_openvino, write_onnx, write_openvino
from qa.answering.work import Ask
from qa.data.example import Example
from qa.data.reading.examples import split_by_paragraph
from qa.data.reading.overlap import CONTEXTS
from qa.errors import UserError, first_line
from qa.evaluation.answers import Evaluation, Question
from qa.hub import local_folder
from qa.model.answering import QA_JSON
from qa.storage import readable, remove, rename_new, temporary_name, write_text

Target = Literal["onnx", "openvino"]
# share and number of the questions, at most, that int8 is fitted with; the others check it
FITTED, MOST_FITTED = 0.3, 300
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".onnx", ".data", ".xml"}
RUNTIMES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
ROUNDS, TIMED = 5, 16  # of timing; questions

CARD = Environment(keep_trailing_newline=True).from_string("""
# For {{ runtime }}, in {{ exported.way }}

The model below, exported. `QuestionAnswerer.from_pretrained` takes this folder.
Checked with {{ exported.before.questions|length }} questions of `{{ checked }}`:

| | the model | this folder |
| --- | --- | --- |
{% for row in exported.rows() -%}
| {{ row|join(" | ") }} |
{% endfor %}
""")


class Exported(NamedTuple):
    """The worth of an exported folder beside its model: `before` are the model's scores, `after` the folder's."""

    way: str  # float32, dynamic int8 or static int8
    before: Evaluation
    after: Evaluation
    megabytes: tuple[float, float]
    speed: float | None  # how many times as fast; None where it was refused

    @property
    def flipped(self) -> list[tuple[Question, Question]]:
        """The questions with other answers, in the model's and in the folder's version."""
        pairs = zip(self.before.questions, self.after.questions, strict=True)
        return [(old, new) for old, new in pairs if (old.prediction, old.start) != (new.prediction, new.start)]

    def rows(self) -> list[list[str]]:
        """The rows of a table: name, value of the model, value of the folder."""
        old, new = self.before.figures(), self.after.figures()
        figures = [[name, f"{old[key]:.2f}", f"{new[key]:.2f}"] for key, name in (("exact_match", "EM"), ("f1", "F1"))]
        return [
            *figures,
            ["other answers", "", f"{len(self.flipped)}"],
            ["weights", *(f"{size:.0f} MB" for size in self.megabytes)],
            *([[f"speed, {torch.get_num_threads()} CPU threads", "1", f"{self.speed:.2f}"]] if self.speed else []),
        ]

    @property
    def losses(self) -> dict[str, float]:
        """The points by which EM and F1 fell."""
        old, new = self.before.figures(), self.after.figures()
        return {name: old[name] - new[name] for name in ("exact_match", "f1")}


def export(
    pretrained: str, to: Target, int8: bool, out: Path, examples: Sequence[Example], name: str, tolerance: float
) -> Exported:
    """Writes the folder `out`, which `QuestionAnswerer.from_pretrained` takes; returns its worth.

    Nothing is written where its EM or F1 on `examples`, called `name`, falls by more than `tolerance` points.
    With `int8` some of the examples fit the quantisation and the others check it. Errors: UserError.
    """
    check_installed()
    if os.path.lexists(out):
        raise UserError(f"{out}: already exists; remove it, or give another --out")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UserError(f"{out.parent}: no folder that can be written to; give another --out")
    if int8 and len({example.context for example in examples}) < 2:
        raise UserError("--check: all questions are on one paragraph; give a file with several")
    model = QuestionAnswerer.from_pretrained(pretrained, "cpu")
    source = local_folder(pretrained)
    if model.engine.name != "torch" or source is None:
        raise UserError(f"{pretrained}: is exported already; give the model that it was made of")
    check_trained(model)
    checked: Sequence[Example] = examples
    windows: WindowInputs = []
    if int8:
        checked, fitted = split_by_paragraph(examples, min(FITTED, MOST_FITTED / len(examples)), seed=42)
        windows = _windows(model, fitted)
    before = check_answers(model, checked)
    exported: Exported | None = None
    problem = ""
    with temporary_name(out) as temporary:
        for way, quantize in QUANTIZE[to].items() if int8 else [("", None)]:
            remove(temporary)
            try:
                _write(model, source, temporary, to, quantize, windows)
            except UserError:
                raise
            except Exception as error:  # a disk that is full, and what the exporters' libraries raise
                problem = first_line(error)
                continue
            answerer = QuestionAnswerer.from_pretrained(str(temporary))
            after = check_answers(answerer, checked)
            sizes = _megabytes(source), _megabytes(temporary)
            exported = Exported(f"{way} int8" if way else "float32", before, after, sizes, None)
            if max(exported.losses.values()) <= tolerance:
                exported = exported._replace(speed=_speed(model, answerer, checked))
                write_text(temporary / "README.md", _card(source, exported, to, name))
                try:
                    rename_new(temporary, out)
                except FileExistsError:
                    raise UserError(f"{out}: was written meanwhile; remove it, or give another --out") from None
                break
    if exported is None:
        raise UserError(f"{pretrained}: cannot be exported to {to} ({problem}); answer with the model itself")
    return exported


def _write(
    model: QuestionAnswerer,
    source: Path,
    folder: Path,
    to: Target,
    quantize: Callable[[Path, WindowInputs], None] | None,
    windows: WindowInputs,
) -> None:
    folder.mkdir()
    path = write_onnx(model.engine, folder, model.answering.max_length)
    if quantize:
        quantize(path, windows)
    if to == "openvino":
        path = write_openvino(path)
        if not quantize:
            check_openvino(model.engine, path, model.answering.max_length)
    if quantize or to == "openvino":
        remove(folder / f"{EXPORTED_FILES['onnx']}.data")  # a large model's weights, which are in other files now
    for name in ("config.json", QA_JSON, CONTEXTS):
        if (source / name).is_file() and not (quantize and name == QA_JSON):
            shutil.copyfile(source / name, folder / name)
    if quantize and (source / QA_JSON).is_file():
        model.answering.changed(error_bounds=[]).save(folder)  # it answers otherwise than what was calibrated
    model.tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        readable(file)


def _windows(model: QuestionAnswerer, examples: Sequence[Example]) -> WindowInputs:
    """The windows of some questions, one by one, as the model gets them."""
    windows: list[dict[str, Any]] = []

    def logits(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        windows.append({name: value.numpy() for name, value in inputs.items()})
        return model.engine.logits(inputs)

    watched = QuestionAnswerer(model.engine._replace(logits=logits), model.tokenizer, model.answering)
    Asked(watched, examples)
    return sorted(windows, key=lambda window: window["input_ids"].tolist())  # lanes take turns as they like


def _megabytes(folder: Path) -> float:
    """The megabytes of a folder's weights."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in WEIGHT_SUFFIXES) / 1e6


def _card(source: Path, exported: Exported, to: Target, checked: str) -> str:
    """The model's card with the worth of the export before its text."""
    path, card = source / "README.md", ModelCard(f"---\nlibrary_name: {to}\n---\n")
    with contextlib.suppress(OSError, ValueError, YAMLError):  # a card that cannot be read is left out
        card = ModelCard.load(path, ignore_metadata_errors=True) if path.is_file() else card
    data: Any = card.data
    data.library_name = to
    card.text = f"{CARD.render(exported=exported, runtime=RUNTIMES[to], checked=checked)}\n{card.text}"
    return str(card)


def _speed(model: QuestionAnswerer, answerer: QuestionAnswerer, examples: Sequence[Example]) -> float:
    """The speed of answering, times the model's: the median of some rounds, both sides taking turns."""
    asks, ratios = [Ask(example.question, [example.context]) for example in examples[:TIMED]], []
    for _ in range(ROUNDS):
        took = []
        for side in (model, answerer):
            begin = time.perf_counter()
            side.answers(asks)
            took.append(time.perf_counter() - begin)
        ratios.append(took[0] / took[1])
    return median(ratios)
