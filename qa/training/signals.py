"""The end of a run that a signal asks for."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from qa.processes import handle_signals


class Interrupted(BaseException):
    """A signal ended the run; its last checkpoint holds its training."""

    def __init__(self, signum: int) -> None:
        self.signum = signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes SIGNALS raise Interrupted, except in training steps, which `NotedSignal` lets finish."""

    def interrupt(signum: int) -> None:
        raise Interrupted(signum)

    stop_handling = handle_signals(interrupt)
    try:
        yield
    finally:
        stop_handling()


class NotedSignal:
    """The signal that this process got between `start` and `stop`: only noted, so that a step is finished and saved."""

    def __init__(self) -> None:
        self.number = 0  # 0: none

    def start(self) -> None:
        """Takes over the handlers of SIGNALS. A second Ctrl-C raises KeyboardInterrupt."""
        self.stop = handle_signals(self._note)

    def _note(self, signum: int) -> None:
        if self.number and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = signum
