"""How a run ends when a signal asks it to."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qa.processes import handle_signals, leave_terminal


class Interrupted(BaseException):
    """A signal ended the run; what it had trained is in its last checkpoint."""

    def __init__(self, signum: int) -> None:
        self.signum = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGNALS raise Interrupted, except in training steps, which `NotedSignal` lets finish."""

    def interrupt(signum: int, _: Any) -> None:
        if signum == signal.SIGHUP:
            leave_terminal()
        raise Interrupted(signum)

    handlers = handle_signals(interrupt)
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


class NotedSignal:
    """The signal that this process got between `start` and `stop`: only noted, so that a step is finished and saved."""

    def __init__(self) -> None:
        self.number = 0  # 0: none
        self._handlers: dict[int, Any] = {}

    def start(self) -> None:
        """Takes over the handlers of SIGNALS. A second Ctrl-C raises KeyboardInterrupt."""
        self._handlers = handle_signals(self._note)

    def stop(self) -> None:
        """Gives the handlers back."""
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, _: Any) -> None:
        if self.number and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = signum
        if signum == signal.SIGHUP:
            leave_terminal()
