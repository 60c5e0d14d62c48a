"""The limits of a client's requests, and their refusal."""

from dataclasses import dataclass

from qa.errors import UserError

MAX_QUESTIONS, MAX_CONTEXTS = 256, 1_000  # of a request


@dataclass(frozen=True)
class Limits:
    """The limits of a service. A refusal names the one that was passed."""

    body: int = 8 << 20  # bytes of a request
    question: int = 2_000  # characters
    context: int = 2_000_000  # characters of all contexts of a request
    questions: int = MAX_QUESTIONS  # of a request
    contexts: int = MAX_CONTEXTS  # of all its questions
    windows: int = 20_000  # of a request
    waiting: int = 1_024  # questions that are accepted and not answered
    requests: int = 128  # of one address at a time
    seconds: float = 60.0  # until an answer
    body_seconds: float = 20.0  # until a request has arrived
    header_seconds: float = 10.0  # until the headers of a request have arrived
    connections: int = 512
    held: int = 256 << 20  # bytes of the requests that are being read or answered


class Refused(UserError):
    """The refusal of a request: one line that says why, and its HTTP status."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


def busy(reason: str) -> Refused:
    """The refusal of a request that may be sent again."""
    return Refused(503, f"{reason}; try again in a few seconds", {"Retry-After": "2"})
