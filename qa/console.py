"""The terminal: text in letters that it has; live lines, silent in a log file and in the first two seconds."""

import io
import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, NewLine, RenderableType
from rich.control import Control
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from qa.errors import printable

Element = TypeVar("Element")
REFRESH = 0.1  # seconds between two states of a live line

if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")  # an arrow or a foreign letter must not end a run


class Terminal(Console):
    """A console that shows control characters instead of obeying them."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as rich does, and writes the same words into the log file, if there is one."""
        super().print(*objects, **options)
        if log_files() and not (self.quiet or any(isinstance(thing, Control | NewLine) for thing in objects)):
            with (words := Terminal(file=io.StringIO(), width=240, markup=False)).capture() as capture:
                Console.print(words, *objects, **options)
            to_log_file(capture.get())

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def log_files() -> list[logging.FileHandler]:
    """The handlers that write the log file of the run; empty where there is none."""
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]


def to_log_file(text: str, level: int = logging.INFO) -> None:
    """Writes lines into the log file of the run, and to no terminal."""
    for line in filter(str.strip, text.splitlines()):
        for handler in log_files():
            handler.handle(logging.LogRecord("qa", level, "", 0, line.rstrip(), None, None))


class Plain(logging.Formatter):
    """Log lines for a terminal, which may name records of the data."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


# a log file has no width to wrap at
console = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 240)


def mute_rank() -> None:
    """Silences this process: the first rank speaks for all."""
    console.quiet = True
    logging.getLogger().handlers.clear()
    logging.getLogger().addHandler(logging.NullHandler())


def quiet_libraries() -> None:
    """Silences libraries' warnings about things that a user cannot change."""
    unwanted = (
        ".*does not have many workers.*",
        ".*fork.*",
        ".*LeafSpec.*",
        ".*pickle protocol.*",
        "predict returned None.*",
        ".*lr_scheduler.step.* before .*optimizer.step.*",  # a first step that 16-mixed skips
        ".*for historical reasons.*",  # of precision=16
        ".*AMP with fp16 is not supported on CPU.*",  # which is an error here
        # figures are summed over ranks, and batches found again, by ourselves
        ".*sync_dist=True.*",
        ".*your dataloader is not resumable.*",
    )
    for message in unwanted:
        warnings.filterwarnings("ignore", message=message)
    noisy = ("lightning.pytorch", "lightning.fabric", "httpx", "httpx2", "huggingface_hub", "datasets", "matplotlib")
    for name in noisy:
        logging.getLogger(name).setLevel(logging.ERROR)


def live_line(*columns: str, time_left: bool = True) -> Progress:
    """A rich progress line: description, bar, done of total, the given fields, and rich's guess of the time left."""
    fields = [TextColumn("{task.fields[" + column + "]}") for column in columns]
    left = [TextColumn("time left"), TimeRemainingColumn()] if time_left else []
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        *fields,
        *left,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def track(items: Iterable[Element], description: str, total: int | None, patience: float = 2.0) -> Iterator[Element]:
    """Yields `items`, with a live line once `patience` seconds have passed."""
    due = time.monotonic() + patience
    line: Progress | None = None
    try:
        for done, item in enumerate(items):
            yield item
            if (now := time.monotonic()) < due:
                continue
            if line is None:
                line = live_line()
                line.start()
                task = line.add_task(description, total=total)
            line.update(task, completed=done + 1)
            due = now + REFRESH
    finally:
        if line is not None:
            line.stop()
