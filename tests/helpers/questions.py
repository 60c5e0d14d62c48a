"""Data as files and tables hold them."""

from typing import Any

from qa.evaluation.answers import Question


def squad(*paragraphs: tuple[str, list[tuple[str, str, str]]]) -> dict[str, Any]:
    """SQuAD v1.1 JSON of (context, [(id, question, answer)]); the answer is marked where it first occurs."""
    rows = [
        {
            "context": context,
            "qas": [
                {"id": name, "question": question, "answers": [{"text": text, "answer_start": context.index(text)}]}
                for name, question, text in questions
            ],
        }
        for context, questions in paragraphs
    ]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": rows}]}


def question(name: str, answer: str, prediction: str, **fields: Any) -> Question:
    context = fields.pop("context", f"👩‍👩‍👧 {answer} is not {prediction}.")
    begin, start = context.index(answer), context.index(prediction)
    given: dict[str, Any] = {
        "id": name, "question": f"What is {name}?", "context": context, "language": None, "answers": [answer],
        "answer_starts": [begin], "prediction": prediction, "start": start, "end": start + len(prediction),
        "probability": 0.5, "exact_match": float(answer == prediction), "f1": float(answer == prediction), "loss": 1.0,
    }  # fmt: skip
    return Question(**{**given, **fields})
