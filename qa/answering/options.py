"""The options of an answer, and their checks."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from qa.data.epochs.mixture import Share
from qa.data.reading.languages import language_code
from qa.errors import UserError
from qa.model.answering import Answering

READ = 5  # texts


class AnswerOptions(TypedDict, total=False):
    """The options of an answer, as callers write them."""

    top_k: int  # 1: how many answers, the alternatives included; at most the model's candidates, 20
    read_texts: int | None  # 5: how many of a question's texts are read, the best by BM25; None: all
    max_answer_length: int | None  # in tokens; None: as the model was validated
    min_probability: float  # 0.0: where the best answer is less probable there is none, and no such alternatives
    max_error: float | None  # at most this share of the answers given is wrong, as far as the calibration promises it
    handle_impossible_answer: bool | None  # whether there may be no answer; None: if it was trained on SQuAD v2
    # 0.5: alternatives that share more than this part of the shorter one with a better answer are left out
    overlap_threshold: float
    batch_size: int | Literal["auto"]  # windows at a time; "auto": as many as have a fixed number of tokens
    whole_words: bool  # False: whether an answer that begins or ends inside a word or number is widened to the whole
    language: str | Sequence[str | None] | None  # code of all questions, or of each: it decides the temperature


class Choice(BaseModel):
    """Checked options that decide which spans may be answers; callers of the service may set them, too."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    top_k: PositiveInt = 1
    read_texts: PositiveInt | None = READ
    max_answer_length: PositiveInt | None = None
    min_probability: Share = 0.0
    max_error: Annotated[float, Field(gt=0, lt=1)] | None = None
    handle_impossible_answer: bool | None = None
    overlap_threshold: Share = 0.5
    whole_words: bool = False


class Options(Choice):
    """All options of an answer, checked."""

    batch_size: PositiveInt | Literal["auto"] = "auto"
    language: str | list[str | None] | None = None

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> Self:
        """Makes options of a caller's values. Errors: UserError."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            if name not in cls.model_fields:
                raise UserError(f"{name}: no such option; there are {', '.join(cls.model_fields)}") from None
            problems = [one["msg"].removeprefix("Input ") for one in error.errors() if one["loc"][0] == name]
            raise UserError(f"{name}={values[name]!r}: {' or '.join(problems)}") from None

    def threshold(self, answering: Answering) -> float | None:
        """Null odds above which there is no answer; None: always answer."""
        usual = answering.no_answer_threshold
        return {None: usual, True: usual or 0.0, False: None}[self.handle_impossible_answer]

    def languages(self, questions: int, answering: Answering) -> list[str | None]:
        """The language of each question. Errors: UserError for another number of languages, or an unknown one."""
        languages = self.language if isinstance(self.language, list) else [self.language] * questions
        languages = [code and (language_code(code) or code) for code in languages]
        if len(languages) != questions:
            raise UserError(f"{len(languages)} languages for {questions} questions; give one, or one for each")
        by_language = answering.temperature_by_language
        if by_language and (unknown := sorted({*filter(None, languages)} - by_language.keys())):
            raise UserError(f"language={unknown[0]}: there are {', '.join(by_language)}; give one of them, or none")
        return languages
