"""`qa.json` in a model's folder: what answering needs beside the weights, and how they were made."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from qa.errors import UserError
from qa.hub import local_folder
from qa.storage import write_text

NAME = "qa.json"
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Answering(BaseModel):
    """What is known of a model. Keys of later versions are ignored."""

    model_config = ConfigDict(extra="ignore")
    no_answer_threshold: FiniteFloat | None = None  # null odds above which a question gets no answer (SQuAD v2)
    max_length: PositiveInt = 384  # tokens of a window
    stride: NonNegativeInt = 128  # tokens that consecutive windows share
    max_answer_length: PositiveInt = 30  # tokens
    n_best: PositiveInt = 20  # candidates of a question, over which its probabilities add up to 1
    temperature: Temperature | None = None  # by which scores are divided; None: nobody calibrated the model
    temperature_by_language: dict[str, Temperature] = {}  # by code, such as "de"
    chosen_on: dict[str, list[str]] | None = None  # {what: the questions that chose it, see `question_hashes`}
    # what made the weights, see `qa.runs.weights.trained`, how many questions it took, and the name of their data
    trained: dict[str, Any] | None = None

    @property
    def temperatures(self) -> tuple[float, dict[str, float]]:
        """Those of all questions, and of some languages; 1 where nobody calibrated the model."""
        return self.temperature or 1.0, self.temperature_by_language

    @property
    def trained_on(self) -> list[tuple[int, str]]:
        """How many questions of which data trained the weights, first the base model's; as far as it is known."""
        made: Any = self.trained
        known = []
        while isinstance(made, dict):  # of a foreign model it may be anything
            questions, data = made.get("questions"), made.get("data")
            if isinstance(questions, int) and isinstance(data, str):
                known.append((questions, data))
            made = made.get("base")
        return known[::-1]

    @classmethod
    def load(cls, pretrained: str) -> Self:
        """That of a model's folder, here or in the hub's cache; without the file, the recipe's. Errors: UserError."""
        folder = local_folder(pretrained)
        if folder is None or not (folder / NAME).exists():
            return cls()
        try:
            return cls.model_validate_json((folder / NAME).read_bytes())
        except (OSError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
            raise UserError(f"{folder / NAME}: {reason}; fix it, or remove it to answer every question") from None

    def save(self, folder: Path) -> None:
        """Writes what is known."""
        write_text(folder / NAME, self.model_dump_json(exclude_none=True, indent=1) + "\n")
