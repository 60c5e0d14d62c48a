"""Data as files and tables hold them."""

import json
from pathlib import Path
from typing import Any

from qa.evaluation.answers import Question


def squad(*paragraphs: tuple[str, list[tuple[str, str, str]]]) -> dict[str, Any]:
    """SQuAD JSON of (context, [(id, question, answer)]); the answer is marked where it first occurs.

    Of SQuAD v2 where an answer is "": then the question has none.
    """

    def qa(context: str, name: str, question: str, text: str) -> dict[str, Any]:
        fields = {"id": name, "question": question}
        if not text:
            return {**fields, "answers": [], "is_impossible": True}
        return {**fields, "answers": [{"text": text, "answer_start": context.index(text)}]}

    rows = [
        {"context": context, "qas": [qa(context, *question) for question in questions]}
        for context, questions in paragraphs
    ]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": rows}]}


def write_bridges(folder: Path, train: int, validation: int, *more: tuple[str, str, str]) -> tuple[Path, Path]:
    """Writes a training and a validation file of so many paragraphs, each with two questions and `more`."""
    paragraphs = []
    for number in range(train + validation):
        context = f"The bridge of Tollen{number} was built in {1800 + number} by Ada Brill. " * 2
        context += f"A flood took its {number + 2} arches away, and it was raised again from grey stone. " * 3
        year = ("when", "When was the bridge built?", str(1800 + number))
        stone = ("what", "What was it raised again from?", "grey stone")
        paragraphs.append((context, [(f"{name}-{number}", asked, text) for name, asked, text in (year, stone, *more)]))
    files = folder / "train.json", folder / "validation.json"
    for path, part in zip(files, (paragraphs[:train], paragraphs[train:]), strict=True):
        path.write_text(json.dumps(squad(*part)), encoding="utf-8")
    return files


def question(name: str, answer: str, prediction: str, **fields: Any) -> Question:
    context = fields.pop("context", f"👩‍👩‍👧 {answer} is not {prediction}.")
    begin, start = context.index(answer), context.index(prediction)
    given: dict[str, Any] = {
        "id": name, "question": f"What is {name}?", "context": context, "language": None, "answers": [answer],
        "answer_starts": [begin], "prediction": prediction, "start": start, "end": start + len(prediction),
        "probability": 0.5, "exact_match": float(answer == prediction), "f1": float(answer == prediction), "loss": 1.0,
    }  # fmt: skip
    return Question(**{**given, **fields})
