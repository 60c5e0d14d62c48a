"""`qa.json` in a model's folder: what answering needs beside the weights, and how they were made."""

import math
import zlib
from base64 import b64decode
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from qa import recipe
from qa.data.arrays import Ints
from qa.data.reading.languages import language_code
from qa.errors import UserError
from qa.hub import local_folder
from qa.storage import write_text

QA_JSON = "qa.json"
TextCount = Annotated[int, Field(ge=2, le=1_000_000)]
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]
STEPS_OF_A_BIT = 8  # to which a rarity is rounded
LARGEST_VOCABULARY = 4_000_000  # tokens; a damaged file may unpack to more


class ErrorBound(BaseModel):
    """The errors among the answers of a calibration that are at least as probable as `probability`."""

    probability: float
    answers: int
    answered: float  # their share of all questions
    wrong: float  # the share of them that was wrong
    wrong_at_most: float  # the share that a model with these errors may have by chance: see `qa.answering.promise`


class KnownTexts(BaseModel):
    """The texts of a calibration, by how rare each token is among theirs: see `qa.answering.shift`."""

    rarity: str  # bits of each token of the vocabulary, in eighths: a byte each, by zlib, in base64
    usual: FiniteFloat  # mean bits of a text's tokens among those of other articles
    deviation: FiniteFloat  # of a text's mean, but for the chance of few tokens
    token_deviation: FiniteFloat  # of a token within its text

    @cached_property
    def steps(self) -> bytes:
        """The rarity of each token, a byte each; an array could not be compared by ==."""
        return zlib.decompressobj().decompress(b64decode(self.rarity), LARGEST_VOCABULARY)

    def bits(self, token_ids: Ints) -> NDArray[np.float64]:
        """The rarity of tokens, [tokens]."""
        steps = np.frombuffer(self.steps, np.uint8)
        return steps[np.minimum(token_ids, len(steps) - 1)] / STEPS_OF_A_BIT

    @model_validator(mode="after")
    def _readable(self) -> Self:
        """Errors: ValueError for a damaged rarity."""
        try:
            is_damaged = not self.steps
        except (ValueError, zlib.error):
            is_damaged = True
        if is_damaged:
            raise ValueError("known_texts: its rarity cannot be read")
        return self


class Decision(BaseModel):
    """The numbers by which scores become an answer and its probability."""

    no_answer_threshold: FiniteFloat | None = None  # null odds above which a question gets no answer (SQuAD v2)
    temperature: Temperature | None = None  # by which scores are divided; None: not calibrated
    no_answer_slope: FiniteFloat | None = None  # slope · null odds + offset: the log-odds that there is no answer
    no_answer_offset: FiniteFloat | None = None

    @property
    def no_answer_line(self) -> tuple[float, float]:
        """Slope and offset; without them those of the softmax of no answer beside the best span."""
        return 1.0 if self.no_answer_slope is None else self.no_answer_slope, self.no_answer_offset or 0.0


class Answering(Decision):
    """The facts about a model; its own decision is for questions with one text. Keys of later versions are ignored."""

    max_length: PositiveInt = recipe.MAX_LENGTH  # tokens of a window
    stride: NonNegativeInt = recipe.STRIDE  # tokens that consecutive windows share
    max_answer_length: PositiveInt = recipe.MAX_ANSWER_LENGTH  # tokens
    n_best: PositiveInt = recipe.N_BEST  # candidates of a question, over which its probabilities add up to 1
    temperature_by_language: dict[str, Temperature] = {}  # by code, such as "de"
    several_texts: dict[TextCount, Decision] = {}  # by the number of texts that a question is asked over
    chosen_on: dict[str, list[str]] | None = None  # {what: the questions that chose it, see `question_hashes`}
    error_bounds: list[ErrorBound] = []  # of questions with one text, the surest answers first
    known_texts: KnownTexts | None = None  # of the calibration; a text that is unlike them gets a warning
    # what made the weights, see `qa.runs.weights.answering_of`, how many questions it took, and the name of their data
    trained: dict[str, Any] | None = None

    def over(self, texts: int) -> Self:
        """The facts for questions with so many texts; between two known numbers of texts they are interpolated.

        Where no number of texts but one is known, and beyond the largest one, the nearest counts.
        """
        decisions = {1: self, **self.several_texts}
        numbers = sorted(decisions)
        columns = {name: [getattr(decisions[number], name) for number in numbers] for name in Decision.model_fields}
        update: dict[str, Any] = {
            name: float(np.interp(math.log(texts), np.log(numbers), values))
            for name, values in columns.items()
            if None not in values
        }
        if self.temperature and "temperature" in update:
            ratio = update["temperature"] / self.temperature
            update["temperature_by_language"] = {c: t * ratio for c, t in self.temperature_by_language.items()}
        return self.model_copy(update=update)

    @field_validator("temperature_by_language")
    @classmethod
    def _shortest(cls, temperatures: dict[str, float]) -> dict[str, float]:
        """By the codes that questions have now; earlier versions kept codes of three letters."""
        return {language_code(code) or code: value for code, value in temperatures.items()}

    @property
    def scales(self) -> tuple[float, dict[str, float], tuple[float, float]]:
        """The temperature of all questions, 1 without calibration, and of some languages; the line."""
        return self.temperature or 1.0, self.temperature_by_language, self.no_answer_line

    @property
    def trained_on(self) -> list[tuple[int, str, str | None]]:
        """The number of questions that trained the weights, their data, and the date; first the base model's.

        As far as known.
        """
        fit: Any = self.trained
        sources = []
        while isinstance(fit, dict):  # of a foreign model it may be anything
            questions, data, date = fit.get("questions"), fit.get("data"), fit.get("date")
            if isinstance(questions, int) and isinstance(data, str):
                sources.append((questions, data, date if isinstance(date, str) else None))
            fit = fit.get("base")
        return sources[::-1]

    @classmethod
    def load(cls, pretrained: str) -> Self:
        """Reads a model's folder, here or in the hub's cache; without the file, the recipe's. Errors: UserError."""
        folder = local_folder(pretrained)
        if folder is None or not (folder / QA_JSON).exists():
            return cls()
        try:
            return cls.model_validate_json((folder / QA_JSON).read_bytes())
        except (OSError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
            raise UserError(f"{folder / QA_JSON}: {reason}; fix it, or remove it to answer every question") from None

    def changed(self, **values: Any) -> Self:
        """A copy with other values, which are checked. Errors: UserError."""
        try:
            return self.model_validate({**self.model_dump(exclude_unset=True), **values})
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{first['loc'][0]}={first['input']!r}: {first['msg'].removeprefix('Input ')}") from None

    def save(self, folder: Path) -> None:
        """Writes `qa.json`; the one that the folder had at first stays there as `qa.json.old`."""
        first = folder / f"{QA_JSON}.old"
        if (folder / QA_JSON).exists() and not first.exists():
            write_text(first, (folder / QA_JSON).read_text("utf-8"))
        write_text(folder / QA_JSON, self.model_dump_json(exclude_none=True, indent=1) + "\n")
