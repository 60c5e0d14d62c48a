"""The embedded demo corpus: 300 paragraphs of many kinds, written for this project, and questions about them.

A paragraph of `demo_paragraphs.txt` is a block: "# Title | kind", its text, then for each question a line "? …" and a
line "= …" with the answer, which the text has once; "=" alone where the text does not answer the question.
"""

import json
import os
import random
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from qa.storage import write_text

DemoSplit = Literal["train", "validation"]

PARAGRAPHS = Path(__file__).with_name("demo_paragraphs.txt")
VALIDATION_OF = 7  # one paragraph of so many is for validation
EXCERPTS = 3  # of each training question: short texts train faster, and other sentences each time teach more
WHOLE_SHARE = 0.1  # of the excerpts that are the whole paragraph
MORE_SENTENCES = (0, 1, 1, 2)  # of an excerpt, beside that with the answer; one is drawn
SENTENCE_END = re.compile(r'(?<=[.!?;])["”)]? (?=[A-Z"“(0-9])')


class Paragraph(NamedTuple):
    """A text with its questions and their answers; an answer is "" where the text has none."""

    title: str
    kind: str
    text: str
    questions: list[tuple[str, str]]


def demo_paragraphs() -> list[Paragraph]:
    """The paragraphs of the file."""
    paragraphs = []
    for block in PARAGRAPHS.read_text(encoding="utf-8").strip().split("\n\n"):
        head, text, *lines = block.split("\n")
        title, _, kind = head.removeprefix("# ").rpartition(" | ")
        questions = [(asked[2:], answer[2:]) for asked, answer in zip(lines[::2], lines[1::2], strict=True)]
        paragraphs.append(Paragraph(title, kind, text, questions))
    return paragraphs


def excerpt(text: str, answer: str, rng: random.Random) -> str:
    """The sentences of the text with the answer and a few beside them, or all of it."""
    if rng.random() < WHOLE_SHARE:
        return text
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    place = text.index(answer)
    first = max(row for row, cut in enumerate(cuts) if cut <= place)
    last = min(row for row, cut in enumerate(cuts) if cut >= place + len(answer))
    for _ in range(rng.choice(MORE_SENTENCES)):
        if first and (last == len(cuts) - 1 or rng.random() < 0.5):
            first -= 1
        elif last < len(cuts) - 1:
            last += 1
    return text[cuts[first] : cuts[last]].rstrip()


def corpus(split: DemoSplit, seed: int = 42) -> dict[str, Any]:
    """A split as SQuAD v1.1 JSON; ids are `<split>-<six digits>` in file order.

    A question of training comes EXCERPTS times, each time with another part of its paragraph; `seed` draws them. The
    texts of validation are whole.
    """
    rng, data = random.Random(f"{split} {seed}"), list[dict[str, Any]]()
    for row, paragraph in enumerate(demo_paragraphs()):
        if (row % VALIDATION_OF == 3) != (split == "validation"):
            continue
        texts: dict[str, list[dict[str, Any]]] = {}  # questions by their text
        for question, answer in paragraph.questions * (EXCERPTS if split == "train" else 1):
            if answer:
                text = excerpt(paragraph.text, answer, rng) if split == "train" else paragraph.text
                answers = [{"text": answer, "answer_start": text.index(answer)}]
                texts.setdefault(text, []).append({"question": question, "answers": answers})
        parts = [{"context": text, "qas": qas} for text, qas in texts.items()]
        data.append({"title": paragraph.title, "paragraphs": parts})
    for number, qa in enumerate(qa for entry in data for part in entry["paragraphs"] for qa in part["qas"]):
        qa["id"] = f"{split}-{number:06d}"
    return {"version": "1.1", "data": data}


def write_demo(folder: Path, seed: int = 42) -> tuple[Path, Path]:
    """Writes `train.json` and `validation.json` in SQuAD v1.1 format into the folder and returns their paths.

    The bytes depend on the seed alone. Several processes may write the same folder at once. Raises OSError where the
    folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits: tuple[DemoSplit, DemoSplit] = ("train", "validation")
    for split in splits:
        path = folder / f"{split}.json"
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        write_text(temporary, json.dumps(corpus(split, seed), ensure_ascii=False, indent=1) + "\n")
        temporary.replace(path)
    return folder / "train.json", folder / "validation.json"
