"""`Answer`: the answer of a question, and its form for other programs."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A part of a context, `context[start:end] == text`; or no answer: the text "".

    Answer("Anna Kern", 0, 9, 14.2, 0.97) of "Anna Kern founded the mill in 1912."
    """

    text: str
    start: int  # characters of the context, end-exclusive
    end: int
    score: float  # start logit + end logit
    probability: float  # that it is right, as EM counts it, in [0, 1]; 0 of no answer where that is not known
    context_index: int = 0  # number of its context among those of the call
    alternatives: tuple["Answer", ...] = ()  # the next best, without alternatives of their own
    no_answer_probability: float | None = None  # None where the model always answers
    warning: str | None = None  # a sentence where its text is unlike those of the model's calibration

    def __bool__(self) -> bool:
        """Whether there is an answer."""
        return bool(self.text)

    def to_dict(self) -> dict[str, Any]:
        """{"answer", "score", "start", "end"}: the hub's question-answering schema; its score is the probability."""
        return {"answer": self.text, "score": self.probability, "start": self.start, "end": self.end}
