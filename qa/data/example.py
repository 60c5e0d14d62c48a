"""`Example`: one question with its context and reference answers."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("surrogate", "half of a surrogate pair") from None
    return text


class Answer(BaseModel):
    """One reference answer; `answer_start`: the character of the context at which it begins, None if it is unknown."""

    model_config = ConfigDict(frozen=True, strict=True)
    text: str
    answer_start: int | None = Field(None, ge=0)

    @field_validator("text")
    @classmethod
    def _text(cls, text: str) -> str:
        return _encodable(text)


class Example(BaseModel):
    """One question with its context and reference answers.

    `answers` is empty where the context does not answer the question (SQuAD v2: `is_impossible`), and where the
    answers are unknown, which only predictions can do with.
    """

    model_config = ConfigDict(frozen=True, strict=True)
    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()
    language: str | None = None
    title: str | None = None  # of the article, where it is known: intervals count an article once
    is_impossible: bool = False

    @property
    def label(self) -> tuple[int, int] | None:
        """First character and end, exclusive, of the first answer whose place is known, without white space around."""
        for text, begin in ((answer.text, answer.answer_start) for answer in self.answers):
            if begin is not None:
                begin += len(text) - len(text.lstrip())
                return begin, begin + len(text.strip())
        return None

    @field_validator("title", mode="before")
    @classmethod
    def _known(cls, title: Any) -> str | None:
        """A title that is no text is no reason to refuse a question."""
        return title.encode(errors="replace").decode() if isinstance(title, str) and title.strip() else None

    @field_validator("id", "question", "context")
    @classmethod
    def _text(cls, text: str) -> str:
        if not text.strip():
            raise PydanticCustomError("blank", "is empty")
        return _encodable(text)
