"""The bodies of requests and responses, as OpenAPI has them: ours, and the hub's question-answering schema."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from qa.answering.answer import Answer
from qa.answering.options import Choice, Options
from qa.data.example import encodable
from qa.serving.limits import MAX_CONTEXTS, MAX_QUESTIONS

NO_FIELD = "no_field"  # the type of an error


def require_text(text: str) -> str:
    """The text. Errors: PydanticCustomError for one without letters, or with half of a surrogate pair."""
    if not text.strip():
        raise PydanticCustomError("blank", "is empty; give a text")
    return encodable(text)


def require_one_text(texts: str | list[str]) -> str | list[str]:
    """The texts. Errors: PydanticCustomError where none of them has letters."""
    if isinstance(texts, str):
        return require_text(texts)
    if not any(text.strip() for text in texts):
        raise PydanticCustomError("blank", "all {count} texts are empty; give a text", {"count": len(texts)})
    return texts


Text = Annotated[str, AfterValidator(encodable)]
Written = Annotated[str, AfterValidator(require_text)]
TopK = Annotated[int, Field(ge=1, le=100)]
AnswerLength = Annotated[int, Field(ge=1, le=512)]  # tokens
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_CONTEXTS)]
Context = Annotated[  # the tags make an error name only the kind that was sent
    Annotated[Text, Tag("str")] | Annotated[Texts, Tag("list[str]")],
    Discriminator(lambda value: "list[str]" if isinstance(value, list) else "str"),
    AfterValidator(require_one_text),
]
Learned = Annotated[Text, Field(max_length=5_000)]
LanguageCode = Annotated[str, Field(max_length=20)]  # of the temperature to take


class Body(BaseModel):
    """A JSON object with no other keys than its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _only_fields(cls, data: Any) -> Any:
        """Errors: PydanticCustomError for the first key that is no field, with where it belongs."""
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                words = f"no such field; the fields are {', '.join(cls.model_fields)}"
                if "options" in cls.model_fields and key in RequestOptions.model_fields:
                    words = "put it into options"
                raise PydanticCustomError(NO_FIELD, "{words}", {"words": words, "key": key})
        return data


class RequestOptions(Body, Choice):
    """The options of an answer; see `AnswerOptions`."""

    top_k: TopK = 1
    max_answer_length: AnswerLength | None = None

    def library(self) -> Options:
        """The options of `QuestionAnswerer`."""
        return Options.model_validate(self.model_dump())


class Item(Body):
    """A question with its context, or several that may hold the answer."""

    question: Written
    context: Context
    language: LanguageCode | None = None

    @property
    def contexts(self) -> list[str]:
        """The contexts, one or several."""
        return [self.context] if isinstance(self.context, str) else self.context


class OneRequest(Item):
    """One question."""

    options: RequestOptions = RequestOptions()


class AnswerRequest(Body):
    """One question: "question" and "context"; or several: "items"."""

    question: Written | None = None
    context: Context | None = None
    language: LanguageCode | None = None
    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_QUESTIONS)] | None = None
    options: RequestOptions = RequestOptions()

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.items is not None and (self.question, self.context, self.language) != (None, None, None):
            raise ValueError('give "question" and "context", or "items", not both')
        if self.items is None and None in (self.question, self.context):
            raise ValueError('give "question" and "context", or "items"')
        return self

    def all_items(self) -> list[Item]:
        """The questions, one or several."""
        if self.items is not None:
            return self.items
        assert self.question is not None and self.context is not None
        return [Item.model_construct(question=self.question, context=self.context, language=self.language)]


class Alternative(BaseModel):
    """A part of a context; see `qa.Answer`."""

    text: str
    start: int
    end: int
    score: float
    probability: float
    context_index: int


class AnswerBody(Alternative):
    """The answer of a question; `text` is empty where none is given."""

    no_answer_probability: float | None
    warning: str | None  # where its text is unlike those of the model's calibration
    alternatives: list[Alternative]

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """The body of the library's answer."""
        return cls.model_validate(answer, from_attributes=True)


class AnswerResponse(BaseModel):
    """The answers, in the order of the questions."""

    answers: list[AnswerBody]


class ErrorResponse(BaseModel):
    """The error, in one line."""

    error: str


class HubInputs(BaseModel):
    """A question and its context."""

    question: Written
    context: Written


class HubParameters(Body):
    """The parameters of the hub's task; None: as the model was trained and validated."""

    top_k: TopK | None = None
    doc_stride: Annotated[int, Field(ge=0, le=8_192)] | None = None  # tokens that windows share
    max_answer_len: AnswerLength | None = None
    max_seq_len: Annotated[int, Field(ge=32, le=8_192)] | None = None  # tokens of a window
    max_question_len: Annotated[int, Field(ge=1, le=8_192)] | None = None  # tokens; the rest of a question is cut off
    handle_impossible_answer: bool | None = None
    align_to_words: bool | None = None  # whether an answer that begins or ends within a word is widened
    language: LanguageCode | None = None  # as in /answer


class HubRequest(BaseModel):
    """A request of the hub's question-answering task."""

    inputs: HubInputs
    parameters: HubParameters | None = None


class HubAnswer(BaseModel):
    """An answer of the hub's task; `score` is its probability."""

    answer: str
    score: float
    start: int
    end: int


class GradeRequest(Body):
    """A learner's answer, and the right answers."""

    given: Learned
    answers: Annotated[list[Learned], Field(max_length=100)]  # none: no answer is right


class Grade(BaseModel):
    """EM and F1 as SQuAD defines them."""

    exact_match: bool
    f1: float  # in percent


class Corrected(BaseModel):
    """The id of a correction, the number of all, and whether this one is new."""

    id: str
    corrections: int
    added: bool


class Withdrawn(BaseModel):
    """The number of corrections, and whether one was undone."""

    corrections: int
    withdrawn: bool


class TextResponse(BaseModel):
    """The text of a file."""

    name: str
    text: str


class TrainedOn(BaseModel):
    """A data set that a model learned from."""

    questions: int
    data: str
    date: str | None  # of its training, such as "2026-11-30"


class ModelInfo(BaseModel):
    """The model that is served."""

    model: str
    content: str  # hash of its files
    engine: str  # torch, onnx or openvino
    trained: bool  # whether it has a span head; without one its answers are random
    trained_on: list[TrainedOn]  # the base model's data first; empty where it is unknown
    calibrated: bool
    calibrated_over: list[int]  # numbers of texts over which it is calibrated
    languages: list[str]  # codes with temperatures of their own
    max_errors: list[float]  # of 0.1, 0.2 and 0.3 those that `max_error` may be
    read_texts: int  # of a question's texts, unless the request says otherwise
    may_refuse: bool  # whether a question may get no answer, as in SQuAD v2
    limits: dict[str, Any]
    corrections: int
