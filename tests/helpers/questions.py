"""Data as files and tables hold them."""

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


def question(name: str, answer: str, prediction: str, **fields: Any) -> Question:
    context = fields.pop("context", f"👩‍👩‍👧 {answer} is not {prediction}.")
    begin, start = context.index(answer), context.index(prediction)
    given: dict[str, Any] = {
        "id": name, "question": f"What is {name}?", "context": context, "language": None, "answers": [answer],
        "answer_starts": [begin], "prediction": prediction, "start": start, "end": start + len(prediction),
        "probability": 0.5, "exact_match": float(answer == prediction), "f1": float(answer == prediction), "loss": 1.0,
    }  # fmt: skip
    return Question(**{**given, **fields})
