"""The embedded demo corpus: paragraphs of many kinds with questions, so that a run needs no download.

A paragraph is a block of `demo_corpus.txt`: "# Title | kind", its text, then for each question a line "? …" and a line
"= …" with the answer, which the text has once; "=" alone where the text does not answer the question. Behind them come
those of `qa.data.demo_templates`, which are short and alike.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from qa.data.demo_templates import DemoSplit, template_articles
from qa.storage import write_text

CORPUS = Path(__file__).with_name("demo_corpus.txt")
EVERY, PLACE = 7, 3  # of each seven paragraphs this one is for validation


class Paragraph(NamedTuple):
    """A text with its questions and their answers, "" where it has none."""

    title: str
    text: str
    questions: list[tuple[str, str]]


def paragraphs(split: DemoSplit) -> Iterator[Paragraph]:
    """The paragraphs of a split, in the order of the file."""
    for number, block in enumerate(CORPUS.read_text(encoding="utf-8").strip().split("\n\n")):
        if (number % EVERY == PLACE) == (split == "validation"):
            head, text, *lines = block.split("\n")
            pairs = zip(lines[::2], lines[1::2], strict=True)
            questions = [(question[2:], answer[2:]) for question, answer in pairs]
            yield Paragraph(head[2:].rpartition(" | ")[0], text, questions)


def demo_data(split: DemoSplit, is_v2: bool = False) -> dict[str, Any]:
    """A split as SQuAD JSON, v1.1 or, with the questions without an answer, v2.0; ids are `<split>-<six digits>`."""
    data = []
    for title, text, questions in paragraphs(split):
        answers = [
            (question, [{"text": answer, "answer_start": text.index(answer)}] if answer else [])
            for question, answer in questions
            if answer or is_v2
        ]
        qas = [{"question": question, "answers": places} for question, places in answers]
        data.append({"title": title, "paragraphs": [{"context": text, "qas": qas}]})
    data += template_articles(split)
    for number, qa in enumerate(qa for article in data for qa in article["paragraphs"][0]["qas"]):
        qa |= {"id": f"{split}-{number:06d}", **({"is_impossible": not qa["answers"]} if is_v2 else {})}
    return {"version": "v2.0" if is_v2 else "1.1", "data": data}


def write_demo(folder: Path, is_v2: bool = False) -> tuple[Path, Path]:
    """Writes `train.json` and `validation.json` in SQuAD's format into the folder and returns their paths.

    Several processes may write the same folder at once. Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "train.json", folder / "validation.json"
    splits: tuple[DemoSplit, DemoSplit] = ("train", "validation")
    for path, split in zip(paths, splits, strict=True):
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        write_text(temporary, json.dumps(demo_data(split, is_v2), ensure_ascii=False, indent=1) + "\n")
        temporary.replace(path)
    return paths
