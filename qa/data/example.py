"""`Example`: one question with its context and reference answers."""

from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, InstanceOf, field_validator
from pydantic_core import PydanticCustomError

Label = Literal["first", "consensus", "all"]  # the reference answers that training learns
CORRECTION = "correction-"  # the begin of the ids of corrections


class ReferenceAnswer(NamedTuple):
    """A reference answer; `answer_start`: the character of the context at which it begins, None if it is unknown."""

    text: str
    answer_start: int | None = None


class Example(BaseModel):
    """One question with its context and reference answers.

    `answers` is empty where the context does not answer the question (SQuAD v2: `is_impossible`), and where the
    answers are unknown, which only predictions can do with.
    """

    model_config = ConfigDict(frozen=True, strict=True)
    id: str
    question: str
    context: str
    answers: tuple[InstanceOf[ReferenceAnswer], ...] = ()
    language: str | None = None
    title: str | None = None  # of the article, where it is known: intervals count an article once
    is_impossible: bool = False

    @property
    def labels(self) -> list[tuple[int, int]]:
        """First character and end, exclusive, of each answer with a known place, without white space around."""
        labels = []
        for text, begin in self.answers:
            if begin is not None:
                begin += len(text) - len(text.lstrip())
                labels.append((begin, begin + len(text.strip())))
        return labels

    @property
    def label(self) -> tuple[int, int] | None:
        """The first of `labels`."""
        return next(iter(self.labels), None)

    @property
    def is_correction(self) -> bool:
        """Whether this corrects a model's answer: a line of a service's file of corrections."""
        return self.id.rpartition("/")[2].startswith(CORRECTION)

    @field_validator("answers")
    @classmethod
    def _answers(cls, answers: tuple[ReferenceAnswer, ...]) -> tuple[ReferenceAnswer, ...]:
        for answer in answers:
            if answer.answer_start is None:  # others are a part of the context
                encodable(answer.text)
        return answers

    @field_validator("title", mode="before")
    @classmethod
    def _known(cls, title: Any) -> str | None:
        """The title, None for anything but a text: that is no reason to refuse a question."""
        return title.encode(errors="replace").decode() if isinstance(title, str) and title.strip() else None

    @field_validator("id", "question", "context")
    @classmethod
    def _text(cls, text: str) -> str:
        if not text.strip():
            raise PydanticCustomError("blank", "is empty")
        return encodable(text)


def encodable(text: str) -> str:
    """The text. Errors: PydanticCustomError for half of a surrogate pair, which UTF-8 does not have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("surrogate", "half of a surrogate pair") from None
    return text
