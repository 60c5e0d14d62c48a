"""An uploaded file, the limits of reading it, the questions in it, and its refusals."""

from dataclasses import dataclass
from typing import NamedTuple


class ExtractionLimits(NamedTuple):
    """The limits of reading one file."""

    seconds: float = 20.0
    memory: int = 1 << 30  # bytes of address space
    characters: int = 5_000_000  # of the text; of the questions as JSON, each context once
    pages: int = 1_000


class Upload(NamedTuple):
    """A file as it was sent."""

    name: str
    data: bytes
    limits: ExtractionLimits


@dataclass(frozen=True)
class FileQuestion:
    """A question of a file; `answers` is empty where the file says that there is none."""

    id: str
    question: str
    context: int  # its number in `contexts`
    answers: list[str]
    language: str | None


@dataclass(frozen=True)
class QuestionsResponse:
    """The questions of a file, each distinct context once, and messages about questions that cannot be used."""

    questions: list[FileQuestion]
    contexts: list[str]
    bad: int
    messages: list[str]


def too_large(name: str, limits: ExtractionLimits) -> str:
    """The error for a file that takes more memory than it may."""
    return f"{name}: cannot be read within {limits.memory / (1 << 30):g} GiB of memory; {remedy(name)}"


def too_long(name: str, limits: ExtractionLimits) -> str:
    """The error for a file that holds more text than it may."""
    return f"{name}: holds more than {limits.characters:,} characters; give it in parts"


def remedy(name: str) -> str:
    """The remedy for a file that cannot be read."""
    return "give its text as .txt" if ending(name) in ("md", "html", "htm", "docx", "pdf") else "give it in parts"


def ending(name: str) -> str:
    """The end of a file's name after its last dot, in lower case; "" where there is no dot."""
    return name.rpartition(".")[2].lower() if "." in name else ""
