"""The overlap of an evaluation with the training data."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from qa.data.example import Example
from qa.errors import UserError
from qa.hub import local_folder

CONTEXTS = "contexts.npy"  # in a model's folder: hashes of the contexts that it was trained on
OnOverlap = Literal["warn", "drop", "error"]


class Overlap(BaseModel):
    """The contexts and questions that evaluation shares with training; case and white space do not count."""

    contexts: int  # distinct ones of the evaluation that are in training too
    of_contexts: int
    questions: int  # of the evaluation that are on such a context
    repeated: int  # those of them that are asked there in training too
    of_questions: int

    def note(self) -> str:
        """A warning for readers of the figures; empty where nothing is shared."""
        if not self.questions:
            return ""
        if self.repeated == self.of_questions:
            all_of_them = f"All {self.repeated:,} questions of the evaluation"
            return f"{all_of_them} are training questions: its figures may show memory."
        repeated = f", and {self.repeated:,} of these questions" if self.repeated else ""
        return (
            f"{self.contexts:,} of {self.of_contexts:,} contexts of the evaluation, with {self.questions:,} of"
            f" {self.of_questions:,} questions, are in the training data too{repeated}; new texts may give less."
        )


def overlap(training: Sequence[Example], evaluation: Sequence[Example]) -> Overlap:
    """The overlap of the examples of an evaluation with those of training."""
    shared, distinct = shared_examples(training, evaluation), set(_plain_contexts(evaluation).values())
    return Overlap(
        contexts=len(set(_plain_contexts([example for example, _ in shared]).values())),
        of_contexts=len(distinct),
        questions=len(shared),
        repeated=sum(is_repeated for _, is_repeated in shared),
        of_questions=len(evaluation),
    )


def shared_examples(training: Sequence[Example], evaluation: Sequence[Example]) -> list[tuple[Example, bool]]:
    """The examples of an evaluation on contexts of training, and whether each is asked there, too."""
    trained, evaluated = _plain_contexts(training), _plain_contexts(evaluation)
    contexts = set(trained.values())
    shared = [example for example in evaluation if evaluated[example.context] in contexts]
    asked = {(trained[e.context], comparable(e.question)) for e in training} if shared else set()
    return [(e, (evaluated[e.context], comparable(e.question)) in asked) for e in shared]


def context_hashes(examples: Sequence[Example]) -> NDArray[np.uint64]:
    """A hash of each example's context, without regard to case and white space, [examples]."""
    texts = {context: text.encode() for context, text in _plain_contexts(examples).items()}
    hashes = {context: hashlib.blake2b(text, digest_size=8).digest() for context, text in texts.items()}
    return np.array([int.from_bytes(hashes[example.context]) for example in examples], np.uint64)


def trained_contexts(pretrained: str) -> NDArray[np.uint64]:
    """Hashes of the contexts that a model was trained on; none where its folder does not say. Errors: UserError."""
    folder = local_folder(pretrained)
    if folder is None or not (folder / CONTEXTS).exists():
        return np.empty(0, np.uint64)
    try:
        contexts: NDArray[np.uint64] = np.load(folder / CONTEXTS)
    except (OSError, ValueError, EOFError):
        raise UserError(f"{folder / CONTEXTS}: cannot be read; get it again, or remove it") from None
    return contexts


def _plain_contexts(examples: Sequence[Example]) -> dict[str, str]:
    """{context: the same without regard to case and white space}."""
    return {context: comparable(context) for context in {example.context for example in examples}}


def comparable(text: str) -> str:
    """A text in lower case, with single spaces."""
    return " ".join(text.lower().split())
