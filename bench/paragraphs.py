"""300 paragraphs of many kinds with 2,300 questions, written for this project: about 190 tokens a window, as SQuAD's.

A paragraph is a block of `paragraphs.txt`: "# Title | kind", its text, then for each question a line "? …" and a line
"= …" with the answer, which the text has once; "=" alone where the text does not answer the question.

python -m bench.paragraphs FOLDER writes train.json and validation.json, one paragraph of seven.
"""

import json
import sys
from itertools import count
from pathlib import Path
from typing import Any

TEXTS = Path(__file__).with_name("paragraphs.txt")


def articles(times: int = 1) -> list[dict[str, Any]]:
    """The articles of SQuAD v1.1's JSON, one for each paragraph, so many times; ids are numbers."""
    blocks = TEXTS.read_text(encoding="utf-8").strip().split("\n\n") * times
    data, numbers = [], count()
    for head, text, *lines in (block.split("\n") for block in blocks):
        pairs = [(question[2:], answer[2:]) for question, answer in zip(lines[::2], lines[1::2], strict=True)]
        qas = [
            {"id": f"{next(numbers)}", "question": question, "answers": [{"text": a, "answer_start": text.index(a)}]}
            for question, a in pairs
            if a
        ]
        data.append({"title": head[2:].rpartition(" | ")[0], "paragraphs": [{"context": text, "qas": qas}]})
    return data


if __name__ == "__main__":
    folder, every = Path(sys.argv[1]), articles()
    parts = {"train": [one for row, one in enumerate(every) if row % 7 != 3], "validation": every[3::7]}
    for name, part in parts.items():
        (folder / f"{name}.json").write_text(json.dumps({"version": "1.1", "data": part}, ensure_ascii=False))
